import { messageOf } from '@understudy/shared/core/app-error'
import type { AgentId, InstanceId, ReplicaId } from '@understudy/shared/core/ids'
import { instanceId as asInstanceId } from '@understudy/shared/core/ids'
import type { Service } from '@understudy/shared/core/service'
import {
  type Clock,
  everyPeriod,
  hours,
  type Instant,
  instant,
  type Millis,
  type Mono,
  minutes,
  seconds,
} from '@understudy/shared/core/time'
import { readyTargets } from '@understudy/shared/failover/group'
import { FOLLOWED_WITHIN } from '@understudy/shared/interruption/signal-outcome'
import { parsePool } from '@understudy/shared/market/pool'
import {
  planStandbys,
  type QuietAgent,
  type StandbyFacts,
  type StandbyPlan,
} from '@understudy/shared/policies/standby-plan'
import { onRebalanceSchema, type ReplicaType } from '@understudy/shared/protocol/agents'
import type { Logger } from 'pino'
import type { FleetStore } from '../../fleet/fleet.ts'
import type { Interruptions, SignalRecord } from '../../interruptions/interruptions.ts'
import type { AgentRow, ReplicaRow } from '../../storage/database.ts'
import type { Moves } from '../moves.ts'
import type { Entry, Registry } from '../registry.ts'
import type { Standbys } from '../standbys.ts'
import type { SpotReturns } from './spot-return.ts'

const LOOK_EVERY = seconds(2)
/** Rates change slowly, and reading them for a whole fleet takes a while. */
const HAZARD_KEPT = minutes(1)
/** What could not be done is not tried again before, or before a pool that refused it is asked again. */
const AGAIN_AFTER = minutes(1)

interface Hazard {
  readonly instance: string
  readonly at: Mono
  /** Null on demand, and where nobody knows. */
  readonly value: number | null
  readonly isOnDemand: boolean
}

/** What is remembered of an agent from one look to the next. */
interface Memory {
  hazard: Hazard | undefined
  /** A move because of a recommendation. */
  triedAt: Instant | null
  notBefore: Mono | undefined
}

/**
 * Looks at every agent of which nothing is under way, and does what `planStandbys` says: makes the standby that is missing, moves
 * off an instance of which a notice is likely, ends what is not needed any more.
 */
export function createStandbyKeeper(parts: {
  readonly registry: Pick<Registry, 'entries'>
  readonly fleet: Pick<FleetStore, 'agents' | 'instance'>
  readonly interruptions: Pick<Interruptions, 'ledger' | 'afterSignal' | 'estimate'>
  readonly standbys: Pick<Standbys, 'usable' | 'isMaking' | 'add' | 'release'>
  readonly moves: Pick<Moves, 'promote'>
  /** The order among standbys by risk and price: instances, the best first. */
  readonly ranked: (entry: Entry) => Promise<readonly string[]>
  readonly returns: SpotReturns
  readonly canLaunch: boolean
  readonly cooldown: Millis
  readonly emptyPoolFor: Millis
  readonly clock: Clock
  readonly log: Logger
}): Service & { lookAtAll(): Promise<void> } {
  const { registry, fleet, interruptions, standbys, moves, ranked, canLaunch, cooldown, clock, log } = parts
  const againAfter = Math.min(AGAIN_AFTER, parts.emptyPoolFor)
  const memories = new Map<AgentId, Memory>()

  function memoryOf(agent: AgentId): Memory {
    const known = memories.get(agent)
    if (known) return known
    const made: Memory = { hazard: undefined, triedAt: null, notBefore: undefined }
    memories.set(agent, made)
    return made
  }

  async function lookAtAll(): Promise<void> {
    const agents = new Map((await fleet.agents()).map((row) => [row.id, row]))
    const lookBack = cooldown + FOLLOWED_WITHIN
    const signals = newest(await interruptions.ledger.since(instant(clock.now() - lookBack)))
    for (const entry of registry.entries()) {
      const row = agents.get(entry.agentId)
      if (!row || !isQuiet(entry) || standbys.isMaking(entry)) continue
      await look(entry, row, signals).catch((error: unknown) => {
        memoryOf(entry.agentId).notBefore = (clock.mono() + againAfter) as Mono
        log.warn({ event: 'standby.not_kept', agent: entry.agentId, why: messageOf(error) })
      })
    }
  }

  async function look(
    entry: Entry,
    row: AgentRow,
    signals: ReadonlyMap<string, SignalRecord>,
  ): Promise<void> {
    const memory = memoryOf(entry.agentId)
    const { primary } = entry.runner.group
    if (primary === undefined) return
    const signal = signals.get(primary)
    if (signal?.outcome === 'open') entry.atRisk = primary
    else if (entry.atRisk === primary) entry.atRisk = undefined
    if (memory.notBefore !== undefined && clock.mono() < memory.notBefore) return
    const hazard = await hazardOf(primary, memory)
    const facts: QuietAgent = {
      now: clock.now(),
      policy: onRebalanceSchema.parse(row.on_rebalance),
      automatic: row.auto_replica_enabled === 1 && canLaunch,
      threshold: row.rebalance_threshold,
      minReplicas: row.min_replicas,
      cooldown,
      signal: signal ? await withProbability(signal) : null,
      hazard: hazard.value,
      lastMoveAt: row.last_failover_at === null ? null : instant(row.last_failover_at),
      triedAt: memory.triedAt,
      standbys: await standbysOf(entry, signals),
    }
    // All that was read took a while.
    if (!isQuiet(entry) || standbys.isMaking(entry) || entry.runner.group.primary !== primary) return
    const plan = planStandbys(facts)
    if (plan.kind === 'nothing' && hazard.isOnDemand && canLaunch)
      return bringBack(entry, row, primary, facts.standbys)
    await act(entry, plan, memory)
  }

  /** It was helped on demand, perhaps, and spot may have capacity again. */
  async function bringBack(
    entry: Entry,
    agent: AgentRow,
    primary: InstanceId,
    standbysThere: readonly StandbyFacts[],
  ): Promise<void> {
    const instance = await fleet.instance(primary)
    if (instance) await parts.returns.look(entry, agent, instance, standbysThere)
  }

  const withProbability = async (signal: SignalRecord) => ({
    detectedAt: signal.detectedAt,
    outcome: signal.outcome,
    probability: (await interruptions.afterSignal(parsePool(signal.poolId))).value,
  })

  async function hazardOf(instance: string, memory: Memory): Promise<Hazard> {
    const { hazard: known } = memory
    if (known?.instance === instance && clock.mono() - known.at < HAZARD_KEPT) return known
    const row = await fleet.instance(asInstanceId(instance))
    const isOnDemand = row?.life_cycle === 'on-demand'
    const value = row && !isOnDemand ? await estimateOf(row) : null
    memory.hazard = { instance, at: clock.mono(), value, isOnDemand }
    return memory.hazard
  }

  const estimateOf = async (row: { pool_id: string; launched_at: number | null }): Promise<number> => {
    const launchedAt = row.launched_at === null ? null : instant(row.launched_at)
    const question = { pool: parsePool(row.pool_id), launchedAt, hours: FOLLOWED_WITHIN / hours(1) }
    return (await interruptions.estimate(question)).value
  }

  async function standbysOf(
    entry: Entry,
    signals: ReadonlyMap<string, SignalRecord>,
  ): Promise<readonly StandbyFacts[]> {
    const ready = new Set<string>(
      readyTargets(entry.runner.group, clock.mono()).map(({ instance }) => instance),
    )
    const rows = standbys.usable(entry)
    const order = rows.length > 1 ? await ranked(entry) : []
    return rows.map((row: ReplicaRow) => ({
      id: row.id,
      instance: row.instance_id,
      type: row.type as ReplicaType,
      createdAt: instant(row.created_at),
      isReady: row.instance_id !== null && ready.has(row.instance_id),
      isAtRisk: row.instance_id !== null && signals.get(row.instance_id)?.outcome === 'open',
      merit: row.instance_id === null ? rows.length : Math.max(0, order.indexOf(row.instance_id)),
    }))
  }

  async function act(entry: Entry, plan: StandbyPlan, memory: Memory): Promise<void> {
    if (plan.kind === 'nothing') return
    log.info({ event: `standby.${plan.kind}`, agent: entry.agentId, why: plan.why })
    switch (plan.kind) {
      case 'make':
        return void (await standbys.add(entry, plan.type, plan.why))
      case 'release':
        return standbys.release(entry, plan.id as ReplicaId, plan.why)
      case 'hand-over': {
        memory.triedAt = clock.now()
        const row = entry.replicas.get(plan.instance)
        if (row)
          moves.promote(entry, row, { demote_old_primary: false }, { cause: 'rebalance', why: plan.why })
      }
    }
  }

  return {
    name: 'standby-keeper',
    lookAtAll,
    run: (signal) =>
      everyPeriod(clock, LOOK_EVERY, signal, () =>
        lookAtAll().catch((error: unknown) =>
          log.warn({ event: 'standby.not_looked', why: messageOf(error) }),
        ),
      ),
  }
}

/** Nothing moves, nobody waits for a replica, and the primary is heard. */
const isQuiet = ({ runner, wanted }: Entry): boolean => {
  const { group, flight } = runner
  const owner = group.primary === undefined ? undefined : group.members.get(group.primary)
  return (
    group.phase.kind === 'steady' &&
    flight === undefined &&
    wanted === undefined &&
    owner?.connected === true &&
    owner.noticedBy === undefined
  )
}

/** The last recommendation of each instance. */
function newest(records: readonly SignalRecord[]): ReadonlyMap<string, SignalRecord> {
  const last = new Map<string, SignalRecord>()
  for (const record of records) if (!last.has(record.instanceId)) last.set(record.instanceId, record)
  return last
}
