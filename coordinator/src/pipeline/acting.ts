import { messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import type { Clock } from '@understudy/shared/core/time'
import type { ActuatorName } from '@understudy/shared/pipeline/instance-config'
import { type Order, objectionTo, type StandingNow } from '@understudy/shared/pipeline/preconditions'
import type { Logger } from 'pino'
import type { ActionStore } from './action-store.ts'
import type { ActionResult, Actuator, Turn } from './actuators/actuator.ts'

/**
 * Does with decisions what the level of their target says: nothing, a line in the log, all but the act, or the act. An act goes
 * on beside everything else, also over a restart; `run` goes on with what an earlier coordinator has begun.
 */
export interface Acting extends Service {
  /** Says what came of it so far. The same decision given again is not done again. */
  submit(order: Order): Promise<ActionResult>
  /** Resolves when nothing is under way. */
  settled(): Promise<void>
}

export function createActing(parts: {
  readonly actuators: Readonly<Record<ActuatorName, Actuator>>
  readonly store: ActionStore
  readonly standingOf: (order: Order) => Promise<StandingNow>
  readonly clock: Clock
  readonly log: Logger
  readonly onEnd: (order: Order, result: ActionResult) => void
}): Acting {
  const { actuators, store, standingOf, clock, log, onEnd } = parts
  const underWay = new Map<string, Promise<void>>()
  const stopping = new AbortController()

  async function look(order: Order, begun: boolean) {
    const standing = await standingOf(order)
    return { standing, objection: objectionTo(order, standing, begun) }
  }

  async function carryOut(order: Order): Promise<void> {
    const turn: Turn = { signal: stopping.signal, look: () => look(order, true) }
    let result: ActionResult
    try {
      result = await actuators[order.actuator].carryOut(order, turn)
    } catch (error) {
      // It goes on at the next start.
      if (stopping.signal.aborted) return
      result = { status: 'failed', reason: messageOf(error) }
    }
    await store.end(order.decisionId, result, clock.now())
    log.info({ event: 'decision.acted', decision: order.decisionId, agent: order.targetId, ...result })
    onEnd(order, result)
  }

  function start(order: Order): void {
    if (underWay.has(order.decisionId)) return
    const work = carryOut(order)
      .catch((error: unknown) =>
        log.error({ event: 'decision.act_failed', decision: order.decisionId, err: error }),
      )
      .finally(() => underWay.delete(order.decisionId))
    underWay.set(order.decisionId, work)
  }

  async function note(order: Order, result: ActionResult): Promise<ActionResult> {
    await store.note(order, result, clock.now())
    onEnd(order, result)
    return result
  }

  async function toLog(order: Order): Promise<ActionResult> {
    return actuators.log.carryOut(order, { signal: stopping.signal, look: () => look(order, false) })
  }

  async function act(order: Order): Promise<ActionResult> {
    const { objection } = await look(order, false)
    const actuator = actuators[order.actuator]
    if (objection !== undefined) {
      const prefix = order.level === 'dry_run' ? 'it would be refused: ' : ''
      return note(order, { status: 'refused', reason: `${prefix}${objection}` })
    }
    if (order.level === 'dry_run')
      return note(order, { status: 'would_act', reason: `it would ${actuator.describe(order)}` })
    const running: ActionResult = { status: 'running', reason: `it is to ${actuator.describe(order)}` }
    if (!(await store.begin(order, running, clock.now()))) {
      const before = await store.find(order.decisionId)
      return before ?? note(order, { status: 'refused', reason: `another action holds ${order.targetId}` })
    }
    start(order)
    return running
  }

  return {
    name: 'decision-actions',
    async submit(order) {
      const before = await store.find(order.decisionId)
      if (before) return before
      if (order.level === 'none')
        return note(order, { status: 'nothing', reason: `the level of ${order.targetId} is none` })
      return order.level === 'log' ? note(order, await toLog(order)) : act(order)
    },
    async settled() {
      while (underWay.size > 0) await Promise.all(underWay.values())
    },
    async run(signal) {
      signal.addEventListener('abort', () => stopping.abort(), { once: true })
      if (signal.aborted) stopping.abort()
      for (const order of await store.open()) start(order)
      await new Promise<void>((resolve) => {
        if (stopping.signal.aborted) resolve()
        stopping.signal.addEventListener('abort', () => resolve(), { once: true })
      })
      await Promise.all(underWay.values())
    },
  }
}
