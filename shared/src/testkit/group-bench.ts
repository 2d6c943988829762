import { agentId, type IncidentId, instanceId } from '../core/ids.ts'
import { type Mono, mono } from '../core/time.ts'
import { type Group, type GroupEffect, type GroupEvent, restoreGroup, stepGroup } from '../failover/group.ts'
import { defaultLeasePolicy } from '../failover/lease.ts'
import type { Role } from '../failover/member-types.ts'

export const P = instanceId('i-p')
export const R = instanceId('i-r')
export const Q = instanceId('i-q')

/** A group whose primary and replicas behave as they are told to in each test. */
export function groupBench(members = [P, R]) {
  let now: Mono = mono(0)
  let incidents = 0
  let group: Group = restoreGroup(
    { agent: agentId('a'), epoch: 0, primary: undefined, members: [], policy: defaultLeasePolicy },
    now,
  )
  let effects: readonly GroupEffect[] = []
  const seqs = new Map<string, number>()
  const send = (event: GroupEvent) => {
    const step = stepGroup(group, event, { now, newIncident: () => `incident-${++incidents}` as IncidentId })
    group = step.group
    effects = step.effects
    return effects
  }
  const seqOf = (instance: string) => {
    const seq = (seqs.get(instance) ?? 0) + 1
    seqs.set(instance, seq)
    return seq
  }
  const bench = {
    get group() {
      return group
    },
    get effects() {
      return effects
    },
    set group(next: Group) {
      group = next
    },
    send,
    kinds: () =>
      effects.map((effect) => (effect.kind === 'order' ? `order:${effect.order.kind}` : effect.kind)),
    find: <K extends GroupEffect['kind']>(kind: K) =>
      effects.find((effect): effect is GroupEffect & { kind: K } => effect.kind === kind),
    connect: (instance: typeof P, role: Role['kind'] = 'idle', epoch = 0) =>
      send({ kind: 'connected', instance, role, epoch, seq: seqOf(instance), sentAt: now }),
    commit: () => send({ kind: 'committed', epoch: group.epoch + 1 }),
    /** A heartbeat that says what the member believes of its lease. */
    beat: (
      instance: typeof P,
      options: { epoch?: number; lease?: 'none' | 'solo' | 'until'; attached?: readonly (typeof P)[] } = {},
    ) => {
      const seq = seqOf(instance)
      return send({
        kind: 'heartbeat',
        instance,
        epoch: options.epoch ?? group.epoch,
        seq,
        sentAt: now,
        lease: { kind: options.lease ?? 'none', seq: seq - 1 },
        replicas: (options.attached ?? []).map((replica) => ({
          instance: replica,
          attached: true,
          lagBytes: 0,
        })),
      })
    },
    wait: (length: number) => {
      now = mono(now + length)
      return send({ kind: 'tick' })
    },
    /** Time passes without a tick. */
    pass: (length: number) => {
      now = mono(now + length)
    },
    /** Everything is well: a primary, and the others ready. */
    settle: () => {
      for (const instance of members) send({ kind: 'joined', instance })
      bench.connect(P)
      bench.commit()
      bench.pass(10_000)
      send({ kind: 'promoted', instance: P, epoch: 1 })
      for (const instance of members.slice(1)) {
        bench.connect(instance)
        send({ kind: 'sync', instance, sync: 'ready' })
      }
      bench.rounds()
      return bench
    },
    /** Two heartbeats of everybody: the primary confirms that it holds a lease. */
    rounds: () => {
      for (let round = 0; round < 3; round += 1) {
        bench.pass(defaultLeasePolicy.heartbeat)
        for (const replica of members.slice(1)) bench.beat(replica)
        bench.beat(P, { lease: round === 0 ? 'solo' : 'until', attached: members.slice(1) })
      }
    },
  }
  return bench
}
