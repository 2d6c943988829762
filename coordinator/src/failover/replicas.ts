import { AppError, type ErrorCode, isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { AgentId, IncidentId, InstanceId, ReplicaId } from '@understudy/shared/core/ids'
import { microUsd, toUsd } from '@understudy/shared/core/money'
import type { Clock } from '@understudy/shared/core/time'
import type { Group } from '@understudy/shared/failover/group'
import { type Pool, parsePool, poolId } from '@understudy/shared/market/pool'
import type { SpotPlace } from '@understudy/shared/policies/spot-return'
import type { ReplicaType } from '@understudy/shared/protocol/agents'
import type { CreateReplicaRequest, PoolChoice } from '@understudy/shared/protocol/replicas'
import type { Logger } from 'pino'
import type { Cloud, PoolOffer } from '../cloud/cloud.ts'
import type { FleetStore } from '../fleet/fleet.ts'
import type { ReplicaRow } from '../storage/database.ts'
import type { Offers } from './offers.ts'
import type { StandbyRisks } from './policies/standby-risks.ts'
import { type SelectionInput, selectOnDemand, selectPools, selectRefused } from './replica-selection.ts'
import type { ReplicaStore } from './replica-store.ts'

/** More standbys than this are never useful to one agent. */
const MAX_REPLICAS = 8
const LAUNCH_TIMEOUT = 15_000
/** Of the pools that have just refused a launch so many are asked again at once, where it is urgent: the API has its limits. */
const ASKED_AGAIN = 4

export interface ReplicaRequest {
  readonly agentId: AgentId
  readonly type: ReplicaType
  readonly createdBy: string
  readonly incident: IncidentId | null
  readonly pool: string | null
  readonly excludeZones: readonly string[]
  /** Why one is wanted, in a sentence. */
  readonly reason: string
  /** P(the primary is interrupted soon), where that is known better than from its pool alone. */
  readonly primaryRisk?: number | undefined
  /** `spot` if not said. */
  readonly lifeCycle?: 'on-demand' | undefined
  /** Nobody serves, or soon nobody will: pools that have just refused a launch are asked again. */
  readonly isUrgent?: boolean
}

export interface CreatedReplica {
  readonly row: ReplicaRow
  readonly choice: readonly PoolChoice[]
  /** Where instances are started by hand: what to run on the new one. */
  readonly joinCommand: string | null
}

export interface ReplicaPorts {
  readonly fleet: FleetStore
  readonly store: ReplicaStore
  readonly cloud: Cloud
  readonly offers: Offers
  readonly clock: Clock
  readonly log: Logger
  readonly coordinatorUrl: string
  readonly createJoinToken: (agentId: AgentId, replicaId: ReplicaId) => Promise<string>
  readonly risks: StandbyRisks
  readonly groupOf: (agentId: AgentId) => Group | undefined
  /** Pools in which any instance of ours has an open notice. */
  readonly noticedPools: () => ReadonlySet<string>
}

/** Chooses a pool and starts an instance in it that will join as a standby. */
export interface Replicas {
  /**
   * Launches a replica of which an earlier coordinator did not write down whether it had launched it; a machine that
   * is there already is taken. @throws AppError `no_capacity`, `unavailable`
   */
  finishLaunch(row: ReplicaRow): Promise<ReplicaRow>
  /** @throws AppError `conflict`, `input_invalid`; `no_capacity` by the cloud's own word; `unavailable` */
  create(request: ReplicaRequest): Promise<CreatedReplica>
  /** Where a replica that nobody has asked for would go now; undefined where no pool is left. */
  best(agentId: AgentId): Promise<SpotPlace | undefined>
  /** By hand, with the operator's wishes checked. */
  createByHand(agentId: AgentId, body: CreateReplicaRequest, actor: string): Promise<CreatedReplica>
}

export function createReplicas(ports: ReplicaPorts): Replicas {
  const { fleet, store, cloud, offers, log, groupOf } = ports

  async function choosePools(request: ReplicaRequest): Promise<{
    ranked: readonly Pool[]
    choice: readonly PoolChoice[]
    prices: ReadonlyMap<string, PoolOffer>
  }> {
    const known = await offers.refresh()
    const prices = new Map(known.map((offer) => [poolId(offer.pool), offer]))
    if (request.pool !== null) {
      const pool = parsePool(request.pool)
      if (known.length > 0 && !prices.has(request.pool))
        throw new AppError('input_invalid', `the pool ${request.pool} is not offered in this region`, {
          errors: [{ pointer: '/pool_id', message: 'not offered in this region' }],
        })
      return { ranked: [pool], choice: [], prices }
    }
    if (known.length === 0)
      throw new AppError(
        'input_invalid',
        'this coordinator knows no pools to choose from: name one as pool_id',
        {
          errors: [{ pointer: '/pool_id', message: 'needed where instances are started by hand' }],
        },
      )
    const group = groupOf(request.agentId)
    const active = await store.active(request.agentId)
    const current = await poolOf(group?.primary)
    if (request.lifeCycle === 'on-demand') return onDemand(request, known, current, active)
    const emptyPools = offers.emptyPools()
    const input: SelectionInput = {
      offers: known,
      current,
      aim: request.type === 'manual' ? 'cheapest' : 'safest',
      riskOf: await ports.risks.beside({
        primary: current,
        primaryRisk: request.primaryRisk,
        others: active.map((row) => row.pool_id),
        bandOf: (id) => prices.get(id)?.interruptionBand ?? null,
      }),
      excludeZones: request.excludeZones,
      noticedPools: ports.noticedPools(),
      takenPools: new Set(active.map((row) => row.pool_id)),
      emptyPools,
    }
    const { ranked, choice } = selectPools(input)
    const pools = [...ranked, ...(request.isUrgent ? selectRefused(input, ASKED_AGAIN) : [])]
    if (pools.length > 0) return { ranked: pools.map(({ pool }) => pool), choice, prices }
    const reasons = choice.map(({ pool_id, because }) => `${pool_id}: ${because}`).join('; ')
    throw new AppError('no_capacity', `no pool is left for a replica of ${request.agentId}`, {
      hint: 'Exclude fewer zones, delete a replica that is not needed, or wait for capacity.',
      retryable: true,
      facts: { reasons },
    })
  }

  function onDemand(
    { agentId, excludeZones }: ReplicaRequest,
    known: readonly PoolOffer[],
    current: Pool | undefined,
    active: readonly ReplicaRow[],
  ) {
    const takenPools = new Set(active.map((row) => row.pool_id))
    const ranked = selectOnDemand({ offers: known, current, excludeZones, takenPools })
    const [best] = ranked
    if (!best)
      throw new AppError('no_capacity', `no type is left for an instance of ${agentId} on demand`, {
        hint: 'Delete a replica that is not needed: none is started in the pool of another.',
        retryable: true,
      })
    const before = known.find(({ pool }) => current && poolId(pool) === poolId(current))
    const chosen: PoolChoice = {
      ...{ pool_id: poolId(best.pool), chosen: true, interruption_band: null, risk: 0 },
      because: onDemandReason(best, before),
      spot_price: toUsd(best.spotPrice),
    }
    return { ranked: ranked.map(({ pool }) => pool), choice: [chosen], prices: new Map<string, PoolOffer>() }
  }

  async function poolOf(instance: InstanceId | undefined): Promise<Pool | undefined> {
    const row = instance === undefined ? undefined : await fleet.instance(instance)
    return row && { instanceType: row.instance_type, availabilityZone: row.availability_zone }
  }

  async function create(request: ReplicaRequest): Promise<CreatedReplica> {
    const { agentId } = request
    const active = await store.active(agentId)
    if (active.length >= MAX_REPLICAS)
      throw new AppError('conflict', `${agentId} has ${active.length} replicas already`, {
        hint: 'Delete one first: DELETE /api/agents/{id}/replicas/{rid}',
      })
    const { ranked, choice, prices } = await choosePools(request)
    const [first] = ranked
    if (!first) throw new AppError('no_capacity', 'no pool is left')
    const row = await store.create({
      agentId,
      type: request.type,
      pool: poolId(first),
      spotPrice: prices.get(poolId(first))?.spotPrice ?? null,
      createdBy: request.createdBy,
      incident: request.incident,
      reason: reasonIn(request, choice),
      ...(request.lifeCycle ? { lifeCycle: request.lifeCycle } : {}),
    })
    const token = await ports.createJoinToken(agentId, row.id as ReplicaId)
    log.info({ event: 'replica.created', agent: agentId, replica: row.id, type: row.type, pool: row.pool_id })
    if (!cloud.canLaunch) return { row, choice, joinCommand: joinCommandOf(ports.coordinatorUrl, token) }
    const launched = await launch(row, ranked, token, prices)
    return { row: launched, choice: asLaunched(choice, launched.pool_id), joinCommand: null }
  }

  const launchIn = (pool: Pool, row: ReplicaRow, joinToken: string) =>
    cloud.launch(
      {
        requestId: `${row.id}/${poolId(pool)}`,
        pool,
        ...(row.life_cycle === 'on-demand' ? { lifeCycle: 'on-demand' } : {}),
        agentId: row.agent_id as AgentId,
        userData: { coordinatorUrl: ports.coordinatorUrl, joinToken },
      },
      AbortSignal.timeout(LAUNCH_TIMEOUT),
    )

  /** Into the best pool that has capacity. */
  async function launch(
    row: ReplicaRow,
    ranked: readonly Pool[],
    joinToken: string,
    prices: ReadonlyMap<string, PoolOffer>,
  ): Promise<ReplicaRow> {
    const refused: string[] = []
    let code: ErrorCode = 'no_capacity'
    let unwanted: InstanceId | undefined
    for (const pool of ranked) {
      const id = poolId(pool)
      try {
        const { instanceId } = await launchIn(pool, row, joinToken)
        if (!(await store.attach(row.id, instanceId))) {
          unwanted = instanceId
          break
        }
        if (id !== row.pool_id) await store.setPool(row.id, id, prices.get(id)?.spotPrice ?? null)
        log.info({
          event: 'replica.launched',
          agent: row.agent_id,
          replica: row.id,
          instance: instanceId,
          pool: id,
        })
        return { ...row, instance_id: instanceId, pool_id: id }
      } catch (error) {
        refused.push(`${id}: ${messageOf(error)}`)
        if (!isAppError(error, 'no_capacity')) {
          // Whether there is capacity, it does not say: nothing dearer is started because of it.
          code = 'unavailable'
          break
        }
        offers.noteEmpty(id)
      }
    }
    if (unwanted !== undefined) throw await takeBack(row, unwanted)
    const why = refused.join('; ')
    await store.setStatus(row, 'failed', why)
    throw new AppError(code, `the replica could not be launched: ${why}`, {
      hint: `${row.agent_id} itself is not affected. Try again later, or in another pool.`,
      retryable: true,
    })
  }

  /** It was deleted while its instance was being launched. One that cannot be ended now is when it enrols. */
  async function takeBack(row: ReplicaRow, instance: InstanceId): Promise<AppError> {
    await cloud
      .terminate(instance, AbortSignal.timeout(LAUNCH_TIMEOUT))
      .catch((error: unknown) =>
        log.warn({ event: 'instance.not_terminated', instance, why: messageOf(error) }),
      )
    return new AppError('conflict', `the replica ${row.id} was deleted while it was being launched`)
  }

  return {
    create,
    async best(agentId) {
      const request = { type: 'automatic-rebalance', createdBy: '', incident: null, reason: '' } as const
      const { choice, prices } = await choosePools({
        ...{ ...request, agentId, pool: null, excludeZones: [] },
      }).catch((error: unknown) => {
        if (isAppError(error, 'no_capacity')) return { choice: [], prices: new Map<string, PoolOffer>() }
        throw error
      })
      const chosen = choice.find((pool) => pool.chosen)
      const offer = chosen && prices.get(chosen.pool_id)
      return offer && { pool: chosen.pool_id, spotPrice: offer.spotPrice, risk: chosen.risk }
    },
    async finishLaunch(row) {
      const token = await ports.createJoinToken(row.agent_id as AgentId, row.id as ReplicaId)
      return launch(row, [parsePool(row.pool_id)], token, new Map())
    },
    async createByHand(agentId, body, actor) {
      const agent = await fleet.mustAgent(agentId)
      if (agent.manual_replica_enabled !== 1)
        throw new AppError('conflict', `replicas of ${agentId} may not be created by hand`, {
          hint: `Allow it: PATCH /api/agents/${agentId} {"manual_replica_enabled": true}`,
        })
      if (groupOf(agentId)?.primary === undefined)
        throw new AppError('not_ready', `${agentId} has no primary yet, so there is nothing to replicate`, {
          hint: 'Let its first instance join: coordinator token join --agent <id>',
        })
      return create({
        agentId,
        type: 'manual',
        createdBy: body.created_by ?? actor,
        incident: null,
        pool: body.pool_id ?? null,
        excludeZones: body.exclude_zones ?? [],
        reason: `asked for by ${body.created_by ?? actor}`,
      })
    },
  }
}

const onDemandReason = ({ onDemandPrice }: PoolOffer, before: PoolOffer | undefined): string => {
  const costs = `$${toUsd(onDemandPrice).toFixed(4)} per hour on demand`
  return before
    ? `the cheapest that is large enough, ${costs}, $${toUsd(microUsd(onDemandPrice - before.spotPrice)).toFixed(4)} more than the primary on spot`
    : `the cheapest that is large enough, ${costs}`
}

const reasonIn = ({ reason }: ReplicaRequest, choice: readonly PoolChoice[]): string => {
  const chosen = choice.find((pool) => pool.chosen)
  return chosen ? `${reason}; ${chosen.pool_id} is ${chosen.because}` : reason
}

/** The choice as it turned out, where the first pool had no capacity. */
const asLaunched = (choice: readonly PoolChoice[], launched: string): readonly PoolChoice[] =>
  choice.map((pool) => {
    if (pool.pool_id === launched)
      return pool.chosen ? pool : { ...pool, chosen: true, because: 'the best of those that had capacity' }
    return pool.chosen ? { ...pool, chosen: false, because: 'it had no capacity just now' } : pool
  })

const joinCommandOf = (coordinatorUrl: string, token: string): string =>
  `COORDINATOR_URL=${coordinatorUrl} JOIN_TOKEN=${token} understudy-agent run`
