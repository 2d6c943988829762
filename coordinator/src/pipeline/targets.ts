import { type Clock, hours, type Instant, instant } from '@understudy/shared/core/time'
import { FOLLOWED_WITHIN } from '@understudy/shared/interruption/signal-outcome'
import { parsePool } from '@understudy/shared/market/pool'
import { disruptionBudget } from '@understudy/shared/pipeline/arbitration'
import type { Budget, EngineName, OwnInterruption, Signal } from '@understudy/shared/pipeline/context'
import type { Kysely, Schema } from '../storage/database.ts'

/** An agent with a primary, as a cycle of decisions sees it. */
export interface Target {
  readonly id: string
  readonly instanceId: string
  readonly instanceType: string
  readonly availabilityZone: string
  readonly launchedAt: Instant
  readonly epoch: number
  readonly term: number
  readonly autoSwitch: boolean
  readonly rebalanceThreshold: number
  readonly switches24h: number
  readonly signals: readonly Signal[]
  readonly openIncident: string | null
  readonly remembered: Remembered
  readonly heldBy: Budget['heldBy']
}

/** From one cycle to the next. */
export interface Remembered {
  readonly forgoneUsd: number
  /** Null before the first cycle with this primary. */
  readonly at: Instant | null
  readonly handledSignals: readonly string[]
}

/** The fleet as a cycle of decisions sees it. */
export interface Targets {
  all(): Promise<readonly Target[]>
  one(id: string): Promise<Target | undefined>
  /** Own interruptions of the past day, whoever was interrupted. */
  interruptions(): Promise<readonly OwnInterruption[]>
  /** Voluntary moves that may begin now; `without` is a target whose own move does not count. */
  movesLeft(without?: string): Promise<number>
  remember(all: readonly (Remembered & { readonly target: Target })[], at: Instant): Promise<void>
}

const DAY = hours(24)
const kinds: Readonly<Record<string, Signal['kind']>> = {
  'termination-notice': 'TERMINATION',
  'rebalance-recommendation': 'REBALANCE',
}

export function createTargets(db: Kysely<Schema>, clock: Clock): Targets {
  async function read(id?: string): Promise<Target[]> {
    const since = clock.now() - DAY
    let query = db
      .selectFrom('agents as agent')
      .innerJoin('instances as instance', 'instance.id', 'agent.instance_id')
      .leftJoin('decision_targets as known', 'known.target_id', 'agent.id')
      .leftJoin('decision_actions as act', (join) =>
        join.onRef('act.target_id', '=', 'agent.id').on('act.ended_at', 'is', null),
      )
      .select([
        'agent.id',
        'agent.epoch',
        'agent.term',
        'agent.auto_switch_enabled',
        'agent.rebalance_threshold',
      ])
      .select(['instance.id as instance_id', 'instance.instance_type', 'instance.availability_zone'])
      .select(['instance.launched_at', 'instance.enrolled_at', 'act.engine', 'act.started_at'])
      .select([
        'known.instance_id as known_instance_id',
        'known.forgone',
        'known.at',
        'known.handled_signals',
      ])
      .orderBy('agent.id')
    if (id !== undefined) query = query.where('agent.id', '=', id)
    const rows = await query.execute()
    const switches = await countSwitches(db, since, id)
    const incidents = await told(db, clock.now(), id)
    return rows.map((row) => {
      const own = incidents.get(row.id) ?? []
      const isSame = row.known_instance_id === row.instance_id
      return {
        id: row.id,
        instanceId: row.instance_id,
        instanceType: row.instance_type,
        availabilityZone: row.availability_zone,
        launchedAt: instant(row.launched_at ?? row.enrolled_at),
        epoch: row.epoch,
        term: row.term,
        autoSwitch: row.auto_switch_enabled === 1,
        rebalanceThreshold: row.rebalance_threshold,
        switches24h: switches.get(row.id) ?? 0,
        signals: own.flatMap(({ signal }) => signal ?? []),
        openIncident: own.find(({ open }) => open)?.id ?? null,
        remembered: {
          forgoneUsd: isSame ? (row.forgone ?? 0) / 1e6 : 0,
          at: isSame && row.at !== null ? instant(row.at) : null,
          handledSignals: isSame ? (JSON.parse(row.handled_signals ?? '[]') as string[]) : [],
        },
        heldBy:
          row.engine === null || row.started_at === null
            ? null
            : { engine: row.engine as EngineName, expiresAt: instant(row.started_at + DAY) },
      }
    })
  }

  return {
    all: () => read(),
    one: async (id) => (await read(id))[0],
    interruptions: () => ownInterruptions(db, clock.now() - DAY),
    async movesLeft(without) {
      const [fleet, noticed, held] = await Promise.all([
        db
          .selectFrom('agents')
          .select((eb) => eb.fn.countAll().as('count'))
          .where('instance_id', 'is not', null)
          .executeTakeFirstOrThrow(),
        db
          .selectFrom('spot_interruption_events')
          .select('agent_id')
          .distinct()
          .where('closed_at', 'is', null)
          .execute(),
        db.selectFrom('decision_actions').select('target_id').where('ended_at', 'is', null).execute(),
      ])
      const hit = noticed.map(({ agent_id: id }) => id)
      const moving = held.map(({ target_id: id }) => id).filter((id) => id !== without)
      return disruptionBudget(Number(fleet.count) - hit.length, new Set([...hit, ...moving]).size)
    },
    async remember(all, at) {
      const rows = all.map(({ target, forgoneUsd, handledSignals }) => ({
        target_id: target.id,
        instance_id: target.instanceId,
        forgone: Math.round(forgoneUsd * 1e6),
        at,
        handled_signals: JSON.stringify(handledSignals),
      }))
      for (let start = 0; start < rows.length; start += 200)
        await db
          .insertInto('decision_targets')
          .values(rows.slice(start, start + 200))
          .onConflict((conflict) =>
            conflict.column('target_id').doUpdateSet((eb) => ({
              instance_id: eb.ref('excluded.instance_id'),
              forgone: eb.ref('excluded.forgone'),
              at: eb.ref('excluded.at'),
              handled_signals: eb.ref('excluded.handled_signals'),
            })),
          )
          .execute()
    },
  }
}

/** Moves that nobody was forced to. */
async function countSwitches(
  db: Kysely<Schema>,
  since: number,
  id: string | undefined,
): Promise<ReadonlyMap<string, number>> {
  let query = db
    .selectFrom('instance_switches')
    .select((eb) => ['agent_id', eb.fn.countAll().as('count')])
    .where('switched_at', '>=', since)
    .where('switch_reason', 'in', ['manual', 'automatic-switch', 'automatic-rebalance'])
    .groupBy('agent_id')
  if (id !== undefined) query = query.where('agent_id', '=', id)
  const rows = await query.execute()
  return new Map(rows.map(({ agent_id, count }) => [agent_id, Number(count)]))
}

type Told = { readonly id: string; readonly open: boolean; readonly signal: Signal | undefined }

/**
 * Incidents that are not over, and what AWS has recommended within the two hours in which a notice may follow: failover ends
 * that incident as soon as it has answered it.
 */
async function told(
  db: Kysely<Schema>,
  now: number,
  agent?: string,
): Promise<ReadonlyMap<string, readonly Told[]>> {
  let query = db
    .selectFrom('spot_interruption_events')
    .select(['id', 'agent_id', 'instance_id', 'signal_type', 'detected_at', 'deadline_at', 'closed_at'])
    .where((eb) =>
      eb.or([
        eb('closed_at', 'is', null),
        eb.and([
          eb('signal_type', '=', 'rebalance-recommendation'),
          eb('detected_at', '>=', now - FOLLOWED_WITHIN),
        ]),
      ]),
    )
    .orderBy('detected_at')
    .orderBy('id')
  if (agent !== undefined) query = query.where('agent_id', '=', agent)
  const all = new Map<string, readonly Told[]>()
  for (const row of await query.execute()) {
    const kind = kinds[row.signal_type]
    const actionAt = instant(row.deadline_at ?? row.detected_at)
    const signal = kind && { kind, instanceId: row.instance_id, actionAt }
    const one = { id: row.id, open: row.closed_at === null, signal }
    all.set(row.agent_id, [...(all.get(row.agent_id) ?? []), one])
  }
  return all
}

async function ownInterruptions(db: Kysely<Schema>, since: number): Promise<readonly OwnInterruption[]> {
  const rows = await db
    .selectFrom('spot_interruption_events as event')
    .innerJoin('instances as instance', 'instance.id', 'event.instance_id')
    .select(['instance.pool_id', 'event.detected_at'])
    .where('event.signal_type', '=', 'termination-notice')
    .where('event.detected_at', '>=', since)
    .orderBy('event.detected_at')
    .orderBy('event.id')
    .execute()
  return rows.map(({ pool_id, detected_at }) => ({ ...parsePool(pool_id), at: instant(detected_at) }))
}

/** What AWS has said of an instance and is not over. */
export async function openSignals(db: Kysely<Schema>, instanceId: string, now: number): Promise<Signal[]> {
  return [...(await told(db, now)).values()]
    .flat()
    .flatMap(({ signal }) => (signal?.instanceId === instanceId ? [signal] : []))
}
