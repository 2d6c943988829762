import type { InstanceId } from '@understudy/shared/core/ids'
import {
  between,
  formatMillis,
  type Instant,
  instant,
  type Millis,
  type Mono,
} from '@understudy/shared/core/time'
import type { Proposal } from '@understudy/shared/failover/certificate'
import type { OpenIncident } from '@understudy/shared/failover/group'
import type { Left } from '@understudy/shared/failover/member-types'
import type { Loss, ResponseAction } from '@understudy/shared/protocol/incidents'
import type { MoveCause } from './incident-names.ts'

/**
 * What is measured while one incident runs, on the coordinator's monotonic clock. Pure data; the group's runner fills
 * it in and reads the result at the end.
 */
export interface Flight {
  incident: OpenIncident
  /** Who has asked for it, where it is a planned move. */
  cause: MoveCause
  /** T+0: when anybody first noticed. */
  readonly zero: Mono
  /** The members have decided and done it while this coordinator was away; it hears of it afterwards. */
  elsewhere: boolean
  readonly oldEpoch: number
  /** Last sign of life of the old primary while nobody had replaced it. */
  lastHeard: Mono
  /** When its workload began to be frozen; undefined while it runs, or when nobody could tell. */
  quietFrom: Mono | undefined
  /** The replica that it gave the epoch to once that one had confirmed everything. */
  sealedFor: InstanceId | undefined
  /** What it gave up all the same, because of the deadline or because it could not be read. */
  left: Loss | undefined
  /** When the new primary passed its health check. */
  promotedAt: Mono | undefined
  /** What the old primary last said of the replica that took over. */
  lastWord: LastWord | undefined
  /** Whom that is about: the last that was elected, though the database may not have it yet. */
  heir: InstanceId | undefined
  target: InstanceId | undefined
  replicaId: string | undefined
  /** The new primary began with a snapshot of then instead of with nothing. */
  restoredThrough: Instant | undefined
  /** The replica that took over was made because of this incident. */
  emergency: boolean
  /** The record says that no spot pool had capacity. */
  toldEmpty: boolean
  readonly waiters: Set<() => void>
}

/** Of one heartbeat: everything written before `safeThrough` is on the replica. */
export interface LastWord {
  readonly heardAt: Mono
  readonly safeThrough: { readonly wall: Instant; readonly mono: Mono } | undefined
  readonly lagBytes: number
}

export const newFlight = (incident: OpenIncident, zero: Mono, oldEpoch: number, lastHeard: Mono): Flight => ({
  incident,
  cause: 'operator',
  zero,
  elsewhere: false,
  oldEpoch,
  lastHeard,
  quietFrom: undefined,
  sealedFor: undefined,
  left: undefined,
  promotedAt: undefined,
  lastWord: undefined,
  heir: undefined,
  target: undefined,
  replicaId: undefined,
  restoredThrough: undefined,
  emergency: false,
  toldEmpty: false,
  waiters: new Set(),
})

type Outcome = 'promoted' | 'relaunched' | 'failed'

/** What the record of the incident says at its end; `flight` is undefined when the coordinator was restarted meanwhile. */
export function resultOf(
  flight: Flight | undefined,
  outcome: Outcome,
  end: {
    readonly now: Mono
    readonly heartbeat: Millis
    /** The old primary still has the epoch, or has one again, and is heard. */
    readonly wentOn: boolean
    /** Another instance has the epoch. */
    readonly moved: boolean
  },
) {
  const nothing = {
    replicaId: null,
    failoverMillis: null,
    noPrimaryMillis: null,
    noPrimaryFrom: null,
    loss: null,
  }
  const action = actionOf(flight, outcome)
  if (!flight) return { ...nothing, action }
  const { promotedAt, zero } = flight
  const known = {
    ...nothing,
    action,
    replicaId: flight.replicaId ?? null,
    failoverMillis: promotedAt === undefined ? null : Math.round(between(zero, promotedAt)),
  }
  // Nobody here saw it: its times are what the members' steps say, now or later.
  if (flight.elsewhere)
    return {
      ...known,
      failoverMillis: null,
      loss: outcome === 'failed' ? null : lossOf(flight, outcome, end.heartbeat),
    }
  const gap = gapOf(flight, end.now)
  const gapped = { ...known, noPrimaryMillis: Math.round(gap.millis), noPrimaryFrom: gap.from }
  if (outcome !== 'failed') return { ...gapped, loss: lossOf(flight, outcome, end.heartbeat) }
  // It has the epoch and is tried again: what it will begin with is known already.
  if (end.moved) return { ...known, loss: lossOf(flight, 'promoted', end.heartbeat) }
  if (!end.wentOn) return known
  const loss = noLoss('nothing: the old primary went on with its own state')
  return flight.quietFrom === undefined ? { ...known, loss } : { ...gapped, loss }
}

function actionOf(flight: Flight | undefined, outcome: Outcome): ResponseAction {
  if (outcome === 'relaunched') return 'relaunched-empty'
  if (outcome === 'failed') return 'none'
  return flight?.emergency ? 'created-emergency-replica' : 'promoted-existing-replica'
}

/** From when until when nobody served. */
export function gapOf(flight: Flight, routedAt: Mono): { from: Mono; millis: number } {
  const from = flight.quietFrom ?? flight.lastHeard
  return { from, millis: Math.max(0, routedAt - from) }
}

/** What may be missing on the new primary, said so that it can be checked. */
export function lossOf(flight: Flight, outcome: 'promoted' | 'relaunched', heartbeatMillis: number): Loss {
  if (outcome === 'relaunched' && flight.restoredThrough !== undefined)
    return lossSince(flight.restoredThrough)
  if (outcome === 'relaunched')
    return {
      kind: 'everything',
      state_through: null,
      at_most_ms: null,
      bytes_behind: null,
      sentence: 'everything: no copy of the state was left and the workload began with an empty one',
    }
  if (hasSealed(flight) && flight.left) return flight.left
  if (hasSealed(flight))
    return noLoss('nothing: the replica confirmed every byte before the old primary gave up its epoch')
  const { lastWord } = flight
  if (!lastWord?.safeThrough)
    return {
      kind: 'unknown',
      state_through: null,
      at_most_ms: null,
      bytes_behind: lastWord?.lagBytes ?? null,
      sentence: 'unknown: the old primary ended before it could say how far the replica was',
    }
  // It may have lived until just before the heartbeat that never came.
  const end = flight.lastHeard + heartbeatMillis
  const atMost = Math.ceil(end - lastWord.safeThrough.mono)
  const through = instant(Math.floor(lastWord.safeThrough.wall))
  return {
    kind: 'bounded',
    state_through: new Date(through).toISOString(),
    at_most_ms: atMost,
    bytes_behind: lastWord.lagBytes,
    sentence: `at most what was written in the ${formatMillis(atMost)} after ${new Date(through).toISOString()}; everything before that is here`,
  }
}

/** Only the replica that confirmed the last of it, and the old primary itself, have what was sealed. */
const hasSealed = ({ sealedFor, heir, incident }: Flight): boolean =>
  sealedFor !== undefined && (heir === undefined || heir === sealedFor || heir === incident.instance)

/**
 * The old primary gave its epoch up by voting for this, once who is primary by it had confirmed everything but `left`. False
 * for what is told late, of an epoch from before the incident.
 */
export function noteSealed(flight: Flight, { epoch, primary }: Proposal, left: Left | undefined): boolean {
  if (epoch <= flight.oldEpoch) return false
  flight.sealedFor = primary
  flight.left = left && left.bytes + left.names > 0 ? lossOfRest(left) : undefined
  return true
}

/** Who has been replaced, and comes back before its successor serves, does not serve. */
export function noteHeard(
  flight: Flight | undefined,
  instance: InstanceId,
  primary: InstanceId | undefined,
  now: Mono,
): void {
  if (flight?.incident.instance === instance && instance === primary) flight.lastHeard = now
}

/** The old primary said what it gave up without. */
export function lossOfRest({ bytes, names }: Left): Loss {
  const parts = [
    ...(bytes > 0 ? [`${bytes} bytes of changes for which the deadline left no time`] : []),
    ...(names > 0 ? [`what was in ${names} names that could not be read`] : []),
  ]
  return {
    kind: 'bounded',
    state_through: null,
    at_most_ms: null,
    bytes_behind: bytes,
    sentence: `${parts.join(', and ')}; everything else is here`,
  }
}

/** How long that was, no clock here can say. */
function lossSince(through: Instant): Loss {
  const at = new Date(through).toISOString()
  return {
    kind: 'bounded',
    state_through: at,
    at_most_ms: null,
    bytes_behind: null,
    sentence: `what was written after the snapshot of ${at}, with which the workload began; everything before that is here`,
  }
}

const noLoss = (sentence: string): Loss => ({
  kind: 'none',
  state_through: null,
  at_most_ms: 0,
  bytes_behind: 0,
  sentence,
})
