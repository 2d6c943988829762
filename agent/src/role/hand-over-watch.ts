import { randomUUID } from 'node:crypto'
import type { IncidentId, InstanceId } from '@understudy/shared/core/ids'
import { type Clock, type Mono, millis, plus, seconds, sleep } from '@understudy/shared/core/time'
import type { Order } from '@understudy/shared/failover/orders'
import type { Logger } from 'pino'
import { decideOwnHandOver, type Reason, type Surroundings } from './own-hand-over.ts'

const LOOK_EVERY = millis(50)
/** A service manager waits longer than this. */
const END_BUDGET = seconds(10)
/** A line that is being dialled again is there by then, or will not be in time. */
const PATIENCE = seconds(2)
/** What remains to be said once the successor has the epoch. */
const CONFIRM_BUDGET = seconds(2)

/** Gives the epoch to the successor without being told to, when this instance is about to end (own-hand-over.ts). */
export interface HandOverWatch {
  /** AWS takes the instance back at `by`; again when the time was moved. */
  noticed(by: Mono): void
  withdrawn(): void
  /** The agent is to end. Resolves once nothing more can be done about it: true when the successor has taken over. */
  beforeEnd(): Promise<boolean>
  close(): void
}

export function createHandOverWatch(parts: {
  readonly look: () => Omit<Surroundings, 'now'>
  /** Whom the newest certificate names as primary. */
  readonly primary: () => InstanceId | undefined
  readonly self: InstanceId
  readonly order: (order: Order) => void
  readonly clock: Clock
  readonly log: Logger
}): HandOverWatch {
  const { look, primary, self, order, clock, log } = parts
  let notice: Reason | undefined
  let incident: IncidentId | undefined
  let said = ''
  let cancel: () => void = () => undefined

  /** Whether it has ordered it now. */
  function attempt(reason: Reason, urgent: boolean): boolean {
    const surroundings = { ...look(), now: clock.mono() }
    const decision = decideOwnHandOver(surroundings, reason)
    if (decision.kind === 'wait') {
      if (decision.why !== said) log.info({ event: 'hand-over.not_by_itself', why: decision.why })
      said = decision.why
      return false
    }
    incident ??= randomUUID() as IncidentId
    const { target, budget } = decision
    const { epoch } = surroundings.member
    log.warn({ event: 'hand-over.by_itself', target, epoch, budget, incident, linked: surroundings.linked })
    order({ kind: 'hand-over', epoch, target, incident, budget, urgent })
    return true
  }

  function watch(): void {
    cancel()
    if (!notice) return
    if (attempt(notice, true)) notice = { ...notice, triedAt: clock.mono() }
    if (look().member.role.kind === 'fenced' || clock.mono() > notice.by) return
    cancel = clock.timer(LOOK_EVERY, watch)
  }

  const isBusy = () => {
    const { role, workload } = look().member
    return role.kind === 'handing-over' || workload === 'stopping' || workload === 'killing'
  }

  /** Somebody is there to take over, or has the state and is about to be designated: what is in the way may pass. */
  const mayPass = () => {
    const { member, successor, attached, linked } = look()
    return member.role.kind === 'primary' && (successor !== null || (linked && attached.length > 0))
  }

  /** Until it is out of office, or cannot be brought out of it. */
  async function giveAway(): Promise<void> {
    const since = clock.mono()
    const by = plus(since, END_BUDGET)
    let reason: Reason = { since, by, atOnce: true, triedAt: undefined }
    let patientSince = since
    for (;;) {
      while (isBusy() && clock.mono() < by) {
        await sleep(clock, LOOK_EVERY)
        patientSince = clock.mono()
      }
      const end = Math.min(by, patientSince + PATIENCE)
      if (attempt(reason, false)) reason = { ...reason, triedAt: clock.mono() }
      else if (mayPass() && clock.mono() < end) await sleep(clock, LOOK_EVERY)
      else return
    }
  }

  return {
    noticed(by) {
      if (!notice) incident = undefined
      notice = { since: notice?.since ?? clock.mono(), by, atOnce: false, triedAt: notice?.triedAt }
      watch()
    },
    withdrawn() {
      notice = undefined
      cancel()
    },
    async beforeEnd() {
      notice = undefined
      cancel()
      const held = look().member.role.kind
      if (held !== 'primary' && held !== 'handing-over' && held !== 'released') return false
      if (held === 'primary') incident = undefined
      await giveAway()
      if (look().member.role.kind === 'primary') return false
      // What it is by now, a replica perhaps, says less than the certificate.
      const end = plus(clock.mono(), CONFIRM_BUDGET)
      while (primary() === self && clock.mono() < end) await sleep(clock, LOOK_EVERY)
      return primary() !== self
    },
    close() {
      notice = undefined
      cancel()
    },
  }
}
