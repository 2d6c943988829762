import { setImmediate } from 'node:timers/promises'
import { type MicroUsd, microUsd } from '@understudy/shared/core/money'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, hours, type Instant, instant, minutes } from '@understudy/shared/core/time'
import { BUCKET } from '@understudy/shared/market/bucket'
import type { Interval } from '@understudy/shared/market/interval'
import { type Realised, realisedOf } from '@understudy/shared/market/realised'
import { type PriceStep, priceSteps, usdOf } from '@understudy/shared/market/savings'
import { defaultPolicy } from '@understudy/shared/pipeline/policy'
import type { Logger } from 'pino'
import type { Market } from '../market/market.ts'
import type { InstanceRow, Kysely, RealisedSavingsRow, Schema } from '../storage/database.ts'

/**
 * What came of the switches that were decided and that happened, by the prices that held afterwards. A switch is counted from
 * the change of primary for as long as the decision expected to stay, or until the agent moved on or the instance ended.
 */
export interface RealisedSavings extends Service {
  /** Takes in new switches, and counts on those that are not settled. Returns how many are open. */
  passOnce(): Promise<number>
}

export interface RealisedPorts {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  readonly market: Pick<Market, 'samples' | 'history'>
  readonly onDemandOf: (poolId: string) => MicroUsd | undefined
  /** What a change of primary costs beside double running; undefined when nobody has said. */
  readonly switchCost: MicroUsd | undefined
}

const EVERY = minutes(30)
/** The same for both modes. */
const HOLD = defaultPolicy('CLUSTER_FULL').hold
/** What ended earlier was taken in then: this is how long a coordinator may have been away. */
const LOOKED_BACK = hours(72)
/** A switch is written down a moment after it was made. */
const AROUND = minutes(5)
/** A price may come an hour late, and with a daily backfill some days. */
const DELAY = hours(1)
const PATIENCE = hours(72)

export function createRealisedSavings(ports: RealisedPorts): RealisedSavings {
  const { db, clock, log } = ports

  /** Switches that were decided, begun and made, and are not counted yet. */
  async function takeIn(): Promise<void> {
    const decided = await db
      .selectFrom('decision_actions as act')
      .innerJoin('decision_execution_log as log', 'log.id', 'act.decision_id')
      .leftJoin('realised_savings as known', 'known.decision_id', 'act.decision_id')
      .select(['act.decision_id', 'act.target_id', 'act.started_at', 'act.ended_at'])
      .select(['log.instance_id', 'log.target_pool_id', 'log.gain', 'log.model_version'])
      .where('log.action', '=', 'SWITCH')
      .where('act.level', '=', 'live')
      .where('act.status', 'in', ['done', 'failed'])
      .where('act.ended_at', '>=', clock.now() - LOOKED_BACK)
      .where('known.decision_id', 'is', null)
      .execute()
    for (const one of decided) {
      const made = await db
        .selectFrom('instance_switches')
        .selectAll()
        .where('agent_id', '=', one.target_id)
        .where('old_instance_id', '=', one.instance_id)
        .where('new_pool_id', '=', one.target_pool_id)
        .where('switched_at', '>=', one.started_at)
        .where('switched_at', '<=', (one.ended_at ?? 0) + AROUND)
        .orderBy('switched_at')
        .limit(1)
        .executeTakeFirst()
      if (!made) continue
      const row: RealisedSavingsRow = {
        decision_id: one.decision_id,
        agent_id: one.target_id,
        model_id: await modelOf(one.model_version),
        ...{ old_instance_id: made.old_instance_id, new_instance_id: made.new_instance_id },
        ...{ old_pool_id: made.old_pool_id, new_pool_id: made.new_pool_id },
        ...{ switched_at: made.switched_at, until_at: made.switched_at, hold_ms: HOLD },
        projected: one.gain === null ? null : Math.round((one.gain * HOLD) / hours(1)),
        ...{ saved: 0, double_running: 0, switch_cost: ports.switchCost ?? null },
        ...{ counted_ms: 0, unknown_ms: 0, ended: null, settled_at: null },
      }
      await db
        .insertInto('realised_savings')
        .values(row)
        .onConflict((conflict) => conflict.doNothing())
        .execute()
    }
  }

  /** Decisions name a version as `name version (id)`. */
  async function modelOf(version: string | null): Promise<string | null> {
    const id = /\(([^()]+)\)$/.exec(version ?? '')?.[1]
    if (id === undefined) return null
    const row = await db.selectFrom('models').select('id').where('id', '=', id).executeTakeFirst()
    return row?.id ?? null
  }

  async function countOn(row: RealisedSavingsRow): Promise<void> {
    const now = clock.now()
    const { until, ended } = await endOf(row, now)
    const { old: left, new: taken } = await instancesOf(row)
    const stay: Interval = { from: instant(row.switched_at), to: until }
    const made = await isMadeFor(row)
    const twice = {
      // What was there before is no cost of the move.
      new: { from: made ? bornAt(taken, row.switched_at) : stay.from, to: stay.from },
      old: { from: stay.from, to: instant(Math.min(left?.terminated_at ?? until, until)) },
    }
    const range = { from: instant(Math.min(twice.new.from, stay.from) - BUCKET), to: until }
    const prices = {
      old: await stepsOf(row.old_pool_id, left, range),
      new: await stepsOf(row.new_pool_id, taken, range),
    }
    const realised = realisedOf(stay, twice, prices)
    const wait = realised.unknown === 0 ? DELAY : PATIENCE
    const isSettled = ended !== null && now - until >= wait
    await db
      .updateTable('realised_savings')
      .set({ until_at: until, ...toColumns(realised), ended, settled_at: isSettled ? now : null })
      .where('decision_id', '=', row.decision_id)
      .execute()
  }

  /** Until when the place is counted, and what ends it; null while it goes on. */
  async function endOf(
    row: RealisedSavingsRow,
    now: Instant,
  ): Promise<{ until: Instant; ended: string | null }> {
    const next = await db
      .selectFrom('instance_switches')
      .select('switched_at')
      .where('agent_id', '=', row.agent_id)
      .where('switched_at', '>', row.switched_at)
      .orderBy('switched_at')
      .limit(1)
      .executeTakeFirst()
    const { new: taken } = await instancesOf(row)
    const ends = [
      { at: row.switched_at + row.hold_ms, why: 'held' },
      { at: next?.switched_at ?? Number.POSITIVE_INFINITY, why: 'moved' },
      { at: taken?.terminated_at ?? Number.POSITIVE_INFINITY, why: 'terminated' },
    ].sort((a, b) => a.at - b.at)
    const [first] = ends as [(typeof ends)[number]]
    if (first.at > now) return { until: now, ended: null }
    return { until: instant(Math.max(first.at, row.switched_at)), ended: first.why }
  }

  async function instancesOf({ old_instance_id: left, new_instance_id: taken }: RealisedSavingsRow) {
    const rows = await db.selectFrom('instances').selectAll().where('id', 'in', [left, taken]).execute()
    const of = (id: string) => rows.find((row) => row.id === id)
    return { old: of(left), new: of(taken) }
  }

  /** Whether the replica was made for this decision. */
  async function isMadeFor(row: RealisedSavingsRow): Promise<boolean> {
    const found = await db
      .selectFrom('replica_instances')
      .select('id')
      .where('instance_id', '=', row.new_instance_id)
      .where('created_by', '=', `decision ${row.decision_id}`)
      .executeTakeFirst()
    return found !== undefined
  }

  async function stepsOf(
    pool: string,
    instance: InstanceRow | undefined,
    range: Interval,
  ): Promise<readonly PriceStep[]> {
    if (instance?.life_cycle === 'on-demand') {
      const price = ports.onDemandOf(pool)
      return price === undefined ? [] : [{ ...range, price }]
    }
    const samples = await ports.market.samples(pool, range)
    const { changes, covered } = await ports.market.history(pool, range)
    return priceSteps(samples, changes, covered)
  }

  async function passOnce(): Promise<number> {
    await takeIn()
    const open = await db
      .selectFrom('realised_savings')
      .selectAll()
      .where('settled_at', 'is', null)
      .orderBy('switched_at')
      .execute()
    for (const row of open) {
      await countOn(row)
      await setImmediate()
    }
    return open.length
  }

  return {
    name: 'realised-savings',
    passOnce,
    run: (signal) =>
      everyPeriod(clock, EVERY, signal, async () => {
        try {
          await passOnce()
        } catch (error) {
          if (!signal.aborted) log.error({ event: 'lab.savings_not_counted', err: error })
        }
      }),
  }
}

const bornAt = (instance: InstanceRow | undefined, switchedAt: number): Instant =>
  instant(Math.min(instance?.launched_at ?? instance?.enrolled_at ?? switchedAt, switchedAt))

const toColumns = ({ saved, doubleRunning, counted, unknown }: Realised) => ({
  saved: microUsd(Math.round(usdOf(saved) * 1e6)),
  double_running: microUsd(Math.round(usdOf(doubleRunning) * 1e6)),
  counted_ms: counted,
  unknown_ms: unknown,
})
