import { createSerial } from '@understudy/shared/core/serial'
import { type Clock, type Instant, instant } from '@understudy/shared/core/time'
import {
  FOLLOWED_WITHIN,
  outcomeOf,
  type SignalOutcome,
} from '@understudy/shared/interruption/signal-outcome'
import type { Kysely, RebalanceSignalRow, Schema } from '../storage/database.ts'

export interface NewSignal {
  readonly instanceId: string
  readonly agentId: string
  readonly poolId: string
  readonly incidentId: string
  /** When AWS emitted it; null where nobody said: then it is the last one of the instance, if there was one. */
  readonly actionAt: Instant | null
  readonly detectedAt: Instant
}

export interface SignalRecord {
  readonly instanceId: string
  readonly poolId: string
  readonly incidentId: string
  readonly actionAt: Instant
  readonly detectedAt: Instant
  readonly outcome: SignalOutcome
  /** From the recommendation to the notice that followed it, 0 where they came together; null otherwise. */
  readonly leadMillis: number | null
}

/**
 * Every rebalance recommendation once, and whether a termination notice followed within two hours. What is given is written in the
 * order in which it was given, so that a notice right after a recommendation finds it.
 */
export interface SignalLedger {
  /** The incident that it is answered by: its own, or that of an earlier sighting, of this process or one before. */
  open(signal: NewSignal): Promise<{ readonly incidentId: string; readonly isNew: boolean }>
  /** A termination notice of an instance; the first counts. */
  noticed(instanceId: string, at: Instant): Promise<void>
  /** With their outcomes as of now, the newest first: at most `most`, ten thousand, which is more than the odds of a family need. */
  latest(): Promise<readonly SignalRecord[]>
  /** Those that were seen since then, the newest first. */
  since(at: Instant): Promise<readonly SignalRecord[]>
  ofPool(poolId: string, limit: number): Promise<readonly SignalRecord[]>
}

const LATEST = 10_000

export function createSignalLedger(db: Kysely<Schema>, clock: Clock, most = LATEST): SignalLedger {
  const inOrder = createSerial()
  /** Notices of the last two hours: of two signals that come together either may be heard first. */
  const recent = new Map<string, Instant>()

  async function find({ instanceId, actionAt }: NewSignal): Promise<{ incident_id: string } | undefined> {
    const own = db.selectFrom('rebalance_signals').select('incident_id').where('instance_id', '=', instanceId)
    // An older one that is told again is not news either: AWS never takes one back.
    const known = actionAt === null ? own : own.where('action_at', '>=', actionAt)
    return known.orderBy('action_at', 'desc').limit(1).executeTakeFirst()
  }

  async function add(signal: NewSignal): Promise<boolean> {
    const { instanceId, agentId, poolId, incidentId, actionAt, detectedAt } = signal
    const { numInsertedOrUpdatedRows } = await db
      .insertInto('rebalance_signals')
      .values({
        instance_id: instanceId,
        action_at: Math.round(actionAt ?? detectedAt),
        agent_id: agentId,
        pool_id: poolId,
        incident_id: incidentId,
        detected_at: Math.round(detectedAt),
        noticed_at: recent.get(instanceId) ?? null,
      })
      .onConflict((conflict) => conflict.columns(['instance_id', 'action_at']).doNothing())
      .executeTakeFirst()
    return (numInsertedOrUpdatedRows ?? 0n) > 0n
  }

  const read = () =>
    db
      .selectFrom('rebalance_signals as signal')
      .leftJoin('instances', 'instances.id', 'signal.instance_id')
      .selectAll('signal')
      .select('instances.terminated_at')
      .orderBy('signal.detected_at', 'desc')
      .orderBy('signal.instance_id')

  return {
    open: (signal) =>
      inOrder(async () => {
        const known = await find(signal)
        if (known) return { incidentId: known.incident_id, isNew: false }
        if (await add(signal)) return { incidentId: signal.incidentId, isNew: true }
        // Another coordinator was faster.
        const other = await find(signal)
        return { incidentId: other?.incident_id ?? signal.incidentId, isNew: false }
      }),
    noticed: (instanceId, at) =>
      inOrder(async () => {
        for (const [id, when] of recent) if (at - when > FOLLOWED_WITHIN) recent.delete(id)
        if (!recent.has(instanceId)) recent.set(instanceId, instant(Math.round(at)))
        await db
          .updateTable('rebalance_signals')
          .set({ noticed_at: Math.round(at) })
          .where('instance_id', '=', instanceId)
          .where('noticed_at', 'is', null)
          .execute()
      }),
    latest: async () =>
      (await inOrder(() => read().limit(most).execute())).map((row) => toRecord(row, clock.now())),
    since: async (at) =>
      (await inOrder(() => read().where('signal.detected_at', '>=', Math.floor(at)).execute())).map((row) =>
        toRecord(row, clock.now()),
      ),
    ofPool: async (poolId, limit) =>
      (await inOrder(() => read().where('signal.pool_id', '=', poolId).limit(limit).execute())).map((row) =>
        toRecord(row, clock.now()),
      ),
  }
}

function toRecord(row: RebalanceSignalRow & { terminated_at: number | null }, now: Instant): SignalRecord {
  const detectedAt = instant(row.detected_at)
  const noticedAt = row.noticed_at === null ? null : instant(row.noticed_at)
  const endedAt = row.terminated_at === null ? null : instant(row.terminated_at)
  const outcome = outcomeOf({ detectedAt, noticedAt, endedAt }, now)
  return {
    instanceId: row.instance_id,
    poolId: row.pool_id,
    incidentId: row.incident_id,
    actionAt: instant(row.action_at),
    detectedAt,
    outcome,
    leadMillis: outcome === 'followed' ? Math.max(0, (noticedAt ?? detectedAt) - detectedAt) : null,
  }
}
