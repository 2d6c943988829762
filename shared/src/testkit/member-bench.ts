import { type IncidentId, instanceId } from '../core/ids.ts'
import { type Mono, millis, mono, plus } from '../core/time.ts'
import { defaultLeasePolicy } from '../failover/lease.ts'
import { newMember, stepMember } from '../failover/member.ts'
import type { Hook, Lease, Member, MemberEffect, MemberEvent } from '../failover/member-types.ts'
import type { Order } from '../failover/orders.ts'

export const PRIMARY = instanceId('i-primary')
export const REPLICA = instanceId('i-replica')
export const INCIDENT = '00000000-0000-4000-8000-000000000001' as IncidentId

/** What is left of a lease after the margin for drift. */
export const LENGTH = millis(defaultLeasePolicy.lease * 0.98)

/** One member, driven by hand; time moves only with `wait`. */
export function memberBench() {
  let member: Member = newMember(defaultLeasePolicy)
  let now: Mono = mono(1000)
  let effects: readonly MemberEffect[] = []
  let active = false
  const send = (event: MemberEvent) => {
    const step = stepMember(member, event, now)
    member = step.member
    effects = step.effects
    for (const effect of effects) if (effect.kind === 'persist') active = effect.active
    return effects
  }
  const fullLease = (solo: boolean): Lease =>
    solo ? { kind: 'solo' } : { kind: 'until', at: plus(now, LENGTH) }
  const why = (ok: boolean, text: string) => (ok ? {} : { why: text })
  return {
    get member() {
      return member
    },
    get effects() {
      return effects
    },
    /** What is on disk. */
    get active() {
      return active
    },
    get now() {
      return now
    },
    kinds: () => effects.map((effect) => ('hook' in effect ? effect.hook : effect.kind)),
    reports: () => effects.flatMap((effect) => (effect.kind === 'report' ? [effect.report.kind] : [])),
    send,
    order: (order: Order) => send({ kind: 'order', order }),
    /** The voter has won this epoch. */
    elected: (epoch: number, options: { fresh?: boolean; solo?: boolean; lease?: Lease } = {}) =>
      send({
        kind: 'elected',
        epoch,
        term: epoch,
        fresh: options.fresh ?? false,
        incident: INCIDENT,
        lease: options.lease ?? fullLease(options.solo ?? false),
      }),
    lease: (lease: Lease = fullLease(false)) => send({ kind: 'lease', lease }),
    ended: (hook: Hook | 'kill', ok = true) =>
      send({ kind: 'hook-ended', turn: member.turn, hook, ok, ...why(ok, `${hook} failed`) }),
    done: (kind: 'applied' | 'drained' | 'released', ok = true) =>
      send({ kind, turn: member.turn, ok, ...why(ok, 'no') }),
    sealed: (ok = true) => send({ kind: 'sealed', turn: member.turn, ok, seq: 7, ...why(ok, 'no') }),
    wait: (length: number) => {
      now = mono(now + length)
      return send({ kind: 'tick' })
    },
    handOver: (epoch: number, urgent = false) =>
      send({
        kind: 'order',
        order: {
          kind: 'hand-over',
          epoch,
          target: REPLICA,
          incident: INCIDENT,
          budget: millis(5000),
          urgent,
        },
      }),
  }
}

/** A primary whose workload runs. */
export function primaryAt(epoch: number, solo = false) {
  const bench = memberBench()
  bench.elected(epoch, { solo })
  bench.done('applied')
  bench.ended('start')
  bench.ended('health')
  if (bench.member.role.kind !== 'primary') throw new Error(`it is ${bench.member.role.kind}`)
  return bench
}
