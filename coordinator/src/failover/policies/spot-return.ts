import type { AgentId } from '@understudy/shared/core/ids'
import {
  type Clock,
  hours,
  type Instant,
  instant,
  type Mono,
  plus,
  seconds,
} from '@understudy/shared/core/time'
import {
  heldBack,
  type OnDemandStay,
  planReturn,
  type SpotPlace,
} from '@understudy/shared/policies/spot-return'
import type { StandbyFacts } from '@understudy/shared/policies/standby-plan'
import type { Logger } from 'pino'
import type { AgentRow, InstanceRow } from '../../storage/database.ts'
import type { Moves } from '../moves.ts'
import type { Offers } from '../offers.ts'
import type { Entry } from '../registry.ts'
import type { ReplicaStore } from '../replica-store.ts'
import type { Replicas } from '../replicas.ts'
import type { Standbys } from '../standbys.ts'

/** Pools are asked about no more often than this. */
const LOOK_EVERY = seconds(10)

interface Memory {
  triedAt: Instant | null
  lookAt: Mono | undefined
  /** What was last said, so that the log has it once. */
  said: string
}

/**
 * Brings agents back to spot that were helped on demand because no spot pool had capacity: only those whose instance we have started on
 * demand ourselves, and that may be moved and given replicas without being asked for.
 */
export interface SpotReturns {
  /** The agent is quiet, and nothing else is to be done about its standbys. */
  look(entry: Entry, agent: AgentRow, primary: InstanceRow, standbys: readonly StandbyFacts[]): Promise<void>
}

export function createSpotReturns(parts: {
  readonly offers: Pick<Offers, 'of'>
  readonly store: Pick<ReplicaStore, 'list'>
  readonly replicas: Pick<Replicas, 'best'>
  readonly standbys: Pick<Standbys, 'add'>
  readonly moves: Pick<Moves, 'promote'>
  readonly voluntarySwitches: (agent: AgentId, since: Instant) => Promise<number>
  /** An agent is being brought back: one at a time. */
  readonly isReturning: () => boolean
  readonly clock: Clock
  readonly log: Logger
}): SpotReturns {
  const { offers, store, replicas, standbys, moves, clock, log } = parts
  const memories = new Map<AgentId, Memory>()

  function memoryOf(agent: AgentId): Memory {
    const known = memories.get(agent) ?? { triedAt: null, lookAt: undefined, said: '' }
    memories.set(agent, known)
    return known
  }

  /** The operator's own choice of an instance on demand is left alone. */
  const isOurs = async (agent: AgentId, instance: string): Promise<boolean> =>
    (await store.list(agent)).some(
      (row) =>
        row.instance_id === instance && row.life_cycle === 'on-demand' && row.created_by === 'understudy',
    )

  function placeOf(
    { replicas: rows }: Entry,
    instance: string | null,
    best: SpotPlace | undefined,
  ): SpotPlace | null {
    const row = instance === null ? undefined : rows.get(instance)
    const offer = row && row.life_cycle !== 'on-demand' ? offers.of(row.pool_id) : undefined
    // Its own risk was looked at when it was chosen: by now it is a neighbour of itself.
    return row && offer ? { pool: row.pool_id, spotPrice: offer.spotPrice, risk: best?.risk ?? 0 } : null
  }

  async function factsOf(
    { agentId }: Entry,
    agent: AgentRow,
    primary: InstanceRow,
    { triedAt }: Memory,
  ): Promise<Omit<OnDemandStay, 'best' | 'standbys'>> {
    const now = clock.now()
    return {
      ...{ now, triedAt, threshold: agent.rebalance_threshold, isBusy: parts.isReturning() },
      launchedAt: instant(primary.launched_at ?? primary.enrolled_at),
      onDemandPrice: offers.of(primary.pool_id)?.onDemandPrice ?? null,
      switches24h: await parts.voluntarySwitches(agentId, instant(now - hours(24))),
    }
  }

  return {
    async look(entry, agent, primary, known) {
      const { agentId } = entry
      const memory = memoryOf(agentId)
      const isAllowed =
        agent.on_demand_fallback === 1 && agent.auto_switch_enabled === 1 && agent.auto_replica_enabled === 1
      if (!isAllowed || (memory.lookAt !== undefined && clock.mono() < memory.lookAt)) return
      memory.lookAt = plus(clock.mono(), LOOK_EVERY)
      const facts = await factsOf(entry, agent, primary, memory)
      if (heldBack(facts) !== undefined || !(await isOurs(agentId, primary.id))) return
      const best = await replicas.best(agentId)
      const plan = planReturn({
        ...{ ...facts, best },
        standbys: known.map((standby) => ({ ...standby, place: placeOf(entry, standby.instance, best) })),
      })
      if (plan.why !== memory.said)
        log.info({ event: `spot-return.${plan.kind}`, agent: agentId, why: plan.why })
      memory.said = plan.why
      // Where the move goes to is looked at again as soon as it may be ready.
      if (plan.kind !== 'stay' || known.length > 0) memory.lookAt = undefined
      if (plan.kind === 'make') await standbys.add(entry, 'automatic-rebalance', plan.why)
      if (plan.kind !== 'hand-over') return
      memory.triedAt = clock.now()
      const row = entry.replicas.get(plan.instance)
      if (row)
        moves.promote(entry, row, { demote_old_primary: false }, { cause: 'return-to-spot', why: plan.why })
    },
  }
}
