import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { AgentId, IncidentId, InstanceId } from '@understudy/shared/core/ids'
import { createSerial } from '@understudy/shared/core/serial'
import {
  between,
  type Clock,
  type Instant,
  type Millis,
  type Mono,
  millis,
  plus,
} from '@understudy/shared/core/time'
import type { CastVote, Proposal } from '@understudy/shared/failover/certificate'
import type { LeasePolicy } from '@understudy/shared/failover/lease'
import { inTransition, newMember, stepMember } from '@understudy/shared/failover/member'
import type {
  Member,
  MemberEffect,
  MemberEvent,
  MemberReport,
} from '@understudy/shared/failover/member-types'
import type { Report } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import type { RoleReplication } from '../record/record.ts'
import { describeRestored, type Recovery, throughOf } from '../snapshot/snapshot.ts'
import type { RoleEffect, Voter } from '../voter/voter.ts'
import type { HookOutcome, Hooks } from './hooks.ts'
import type { RoleStore } from './role-store.ts'
import { extrasOf, toMemberEvent } from './voter-events.ts'

/** Names of the steps of an incident, by what is done. */
const stepNames = {
  drain: 'state-drained',
  seal: 'final-sync',
  'finish-receiving': 'state-in-place',
  start: 'workload-started',
  stop: 'workload-stopped',
  freeze: 'workload-frozen',
  thaw: 'workload-thawed',
  health: 'health-check',
  kill: 'workload-killed',
} as const

/**
 * Carries out what the member machine (shared/src/failover/member.ts) decides: runs hooks, moves state, writes the
 * epoch down, reports. It decides nothing itself.
 */
export interface Role {
  readonly member: Member
  /** Freezes what an earlier run of this daemon may have left running; before anybody is told that we are here. */
  boot(): Promise<void>
  dispatch(event: MemberEvent): void
  /** What the voter has decided. */
  onVoter(effect: RoleEffect): void
  /** Terms of the coordinator that it said hello with. */
  setPolicy(policy: LeasePolicy): void
  /** Stops the workload by its hook, or kills it when that fails. Nobody may order anything any more. */
  end(): Promise<void>
  /** Stops the clock; a hook that still runs is ended. */
  close(): Promise<void>
}

export interface RoleSurroundings {
  readonly agent: AgentId
  readonly instance: InstanceId
  readonly policy: LeasePolicy
  /** So long a workload stands still for a move that could also be made later. */
  readonly freezeBudget: Millis
  readonly clock: Clock
  readonly hooks: Hooks
  readonly replication: RoleReplication
  /** Brings back what was kept outside when this instance is to begin with nothing. */
  readonly recovery: Recovery
  readonly store: RoleStore
  readonly voter: Pick<Voter, 'lease' | 'release' | 'resign' | 'expose'>
  readonly log: Logger
  readonly report: (report: Report) => void
  /** Asks for the connection to the primary that the coordinator named with its last order. */
  readonly followUpstream: (term: number, primary: InstanceId) => void
  /** Called whenever role, epoch or workload have changed. */
  readonly onChange: () => void
}

export function createRole(parts: RoleSurroundings): Role {
  const { agent, instance, clock, hooks, replication, recovery, store, voter, log, report } = parts
  let member = newMember(parts.policy)
  let incident: IncidentId | undefined
  let running = new AbortController()
  let cancelTick: (() => void) | undefined
  let closed = false
  /** The voter was told that the workload may be doing something. */
  let toldExposed = false
  /** Our vote for the successor, which goes with the report of it. */
  let released: { readonly proposal: Proposal; readonly vote: CastVote } | undefined
  const effects = createSerial()
  const idle = new Set<() => void>()

  function dispatch(event: MemberEvent): void {
    if (closed) return
    if (event.kind === 'order' && 'incident' in event.order) incident = event.order.incident
    if (event.kind === 'elected') incident = event.incident
    const before = member
    const step = stepMember(member, event, clock.mono())
    member = step.member
    if (before.role.kind !== member.role.kind || before.workload !== member.workload) {
      log.info({
        event: 'role.changed',
        because: event.kind,
        from: `${before.role.kind}/${before.workload}`,
        to: `${member.role.kind}/${member.workload}`,
        epoch: member.epoch,
        incident,
      })
      parts.onChange()
    }
    scheduleTick()
    tellExposed(event)
    for (const effect of step.effects) void effects(() => perform(effect)).catch(onFailedEffect)
    if (!inTransition(member)) for (const wake of idle) wake()
  }

  function tellExposed(because: MemberEvent): void {
    // It was held still; what the guard has left of it may be doing something.
    if (because.kind === 'killed' && member.exposed && !toldExposed) void beforeExposed()
    if (!toldExposed || member.exposed) return
    toldExposed = false
    void voter.expose(false)
  }

  /** Effects report their own failures; what comes here is the disk refusing to take the epoch down. */
  function onFailedEffect(error: unknown): void {
    const why = messageOf(error)
    log.error({ event: 'role.effect_failed', why })
    dispatch({ kind: 'unable', why })
  }

  /** The machine looks at the clock when the lease says that it must, not before. */
  function scheduleTick(): void {
    cancelTick?.()
    cancelTick = undefined
    const { lease, policy, exposed, role } = member
    if (lease.kind !== 'until' || (!exposed && role.kind !== 'promoting')) return
    const now = clock.mono()
    const first = plus(lease.at, millis(-policy.fenceBudget))
    const last = plus(lease.at, millis(-policy.fenceBudget / 2))
    const next = now < first ? first : now < last ? last : plus(now, millis(20))
    cancelTick = clock.timer(between(now, next), () => dispatch({ kind: 'tick' }))
  }

  async function perform(effect: MemberEffect): Promise<void> {
    switch (effect.kind) {
      case 'persist':
        return store.save({ epoch: effect.epoch, active: effect.active })
      case 'report':
        return tell(effect.report)
      case 'receive':
        await recovery.abandon()
        return parts.followUpstream(effect.term, effect.primary)
      case 'stop-receiving':
        await recovery.stop()
        return replication.stopFollowing()
      case 'serve':
        return replication.serve(effect.term)
      case 'stop-serving':
        return replication.stopServing()
      case 'release':
        return voter.release(effect.turn, effect.target, extrasOf(member))
      case 'resign':
        return voter.resign(effect.epoch)
      case 'hook':
        if (effect.hook === 'start' || effect.hook === 'thaw') await beforeExposed()
        // What is to run has been overtaken by something else.
        if (effect.turn !== member.turn) return
        return runHook(effect)
      case 'kill':
        return runHook(effect)
      case 'finish-receiving':
        return operate('finish-receiving', effect.turn, async () => {
          await (effect.discard || recovery.unfinished ? beginAnew() : replication.finish(false))
          return { kind: 'applied' as const, turn: effect.turn, ok: true }
        })
      case 'drain':
        return operate('drain', effect.turn, async () => {
          await replication.drain(effect.target, effect.budget)
          return { kind: 'drained' as const, turn: effect.turn, ok: true }
        })
      case 'seal':
        return operate('seal', effect.turn, () => seal(effect))
    }
  }

  /** From here on the guard ends the workload when the lease is not renewed. */
  async function beforeExposed(): Promise<void> {
    toldExposed = true
    await voter.expose(true)
  }

  function tell(body: MemberReport): void {
    if (body.kind !== 'released') return report(body)
    // The machine releases only after the voter has said that it has voted.
    if (released) report({ ...body, vote: released })
  }

  /** With the newest snapshot, where there is one, and with the rest of it where it was begun with before; else with nothing. */
  async function beginAnew(): Promise<void> {
    const started = clock.mono()
    const restored = await recovery.begin((goesOn, refill) => replication.finish(!goesOn, refill))
    if (restored)
      reportStep('snapshot-restored', started, true, describeRestored(restored), throughOf(restored))
  }

  async function seal(effect: MemberEffect & { kind: 'seal' }): Promise<MemberEvent & { kind: 'sealed' }> {
    const { role } = member
    const urgent = role.kind === 'handing-over' && role.urgent
    const budget = urgent ? effect.budget : millis(Math.min(effect.budget, parts.freezeBudget))
    const { seq, unreadable, leftBytes, why } = await replication.seal(effect.target, budget, urgent)
    const sealed = { kind: 'sealed', turn: effect.turn, ok: true, seq } as const
    if (unreadable === 0 && leftBytes === 0) return sealed
    log.error({ event: 'role.sealed_without', unreadable, leftBytes, why, incident })
    return { ...sealed, left: { bytes: leftBytes, names: unreadable } }
  }

  /** Begins something that ends with an event of its own; the effects after it do not wait for it. */
  function operate(
    name: 'finish-receiving' | 'drain' | 'seal',
    turn: number,
    run: () => Promise<MemberEvent>,
  ): void {
    const started = clock.mono()
    run().then(
      (event) => {
        reportStep(stepNames[name], started, true, detailOf(event))
        dispatch(event)
      },
      (error: unknown) => {
        const why = messageOf(error)
        log.warn({ event: `role.${name}_failed`, why, incident })
        reportStep(stepNames[name], started, false, why)
        dispatch(failureOf(name, turn, why, isAppError(error) && error.facts.incomplete === true))
      },
    )
  }

  /** A new hook ends the one before it: the machine has decided otherwise. */
  function runHook(effect: MemberEffect & { kind: 'hook' | 'kill' }): void {
    const { turn } = effect
    running.abort()
    running = new AbortController()
    const { signal } = running
    const started = clock.mono()
    const hook = effect.kind === 'kill' ? 'kill' : effect.hook
    const ran: Promise<HookOutcome> =
      effect.kind === 'kill'
        ? hooks.kill()
        : hooks.run(effect.hook, { agent, instance, epoch: member.term }, signal)
    void ran.then((outcome) => {
      if (!outcome.ok && !signal.aborted)
        log.warn({ event: 'role.hook_failed', hook, why: outcome.why, incident })
      if (!signal.aborted) reportStep(stepNames[hook], started, outcome.ok, outcome.why ?? '')
      dispatch({
        kind: 'hook-ended',
        turn,
        hook,
        ok: outcome.ok,
        ...(outcome.why === undefined ? {} : { why: outcome.why }),
      })
    })
  }

  async function untilSettled(): Promise<void> {
    while (inTransition(member)) await new Promise<void>((resolve) => idle.add(resolve))
    idle.clear()
  }

  function reportStep(
    step: string,
    started: Mono,
    ok: boolean,
    detail: string,
    stateThrough?: Instant,
  ): void {
    if (incident === undefined) return
    report({
      kind: 'step',
      incident,
      step,
      began: started,
      tookMillis: between(started, clock.mono()),
      at: clock.now(),
      ok,
      detail: detail.slice(0, 2000),
      ...(stateThrough === undefined ? {} : { stateThrough }),
    })
  }

  return {
    get member() {
      return member
    },
    async boot() {
      const { epoch, active } = store.memory
      dispatch({ kind: 'booted', epoch, active })
      await untilSettled()
      await voter.expose(member.exposed)
    },
    dispatch,
    onVoter(effect) {
      if (effect.kind === 'released') released = effect.vote
      const event = toMemberEvent(effect, member, voter.lease)
      if (event) dispatch(event)
    },
    async end() {
      dispatch({ kind: 'ending' })
      await untilSettled()
    },
    setPolicy(policy) {
      member = { ...member, policy }
    },
    async close() {
      closed = true
      cancelTick?.()
      running.abort()
      await recovery.stop()
      await effects(() => undefined)
    },
  }
}

const failureOf = (
  name: 'finish-receiving' | 'drain' | 'seal',
  turn: number,
  why: string,
  incomplete: boolean,
): MemberEvent => {
  if (name === 'drain') return { kind: 'drained', turn, ok: false, why }
  if (name === 'seal') return { kind: 'sealed', turn, ok: false, seq: 0, why }
  return { kind: 'applied', turn, ok: false, why, incomplete }
}

const detailOf = (event: MemberEvent): string => (event.kind === 'sealed' ? sealedDetail(event) : '')

const sealedDetail = ({ seq, left }: MemberEvent & { kind: 'sealed' }): string =>
  left
    ? `the replica has everything up to batch ${seq}, without ${left.bytes} bytes and ${left.names} names`
    : `the replica confirmed everything up to batch ${seq}`
