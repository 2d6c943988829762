import { hours } from '@understudy/shared/core/time'
import { interferes } from '@understudy/shared/experiments/guards'
import { type ExperimentPlan, sequenceOf } from '@understudy/shared/experiments/plan'
import { estimateBlocks, estimateRates } from '@understudy/shared/experiments/planning'
import { parsePool } from '@understudy/shared/market/pool'
import { familyGroupOf } from '@understudy/shared/market/pool-groups'
import type { ExperimentEstimate } from '@understudy/shared/protocol/experiments'
import type { Kysely, Schema } from '../storage/database.ts'

const MONTH_DAYS = 30
const LOOK_BACK = hours(90 * 24)
/** Where nothing is known of the units' interruptions. */
const ASSUMED_PER_MONTH = 1

const SHADOW_INSTEAD =
  'Shadow scoring gives two labels a day of every pool, whether or not anything acts on them.'

/** What an experiment will take, from what is known before it starts. */
export async function estimateExperiment(
  db: Kysely<Schema>,
  now: number,
  { plan, units, ratio }: { plan: ExperimentPlan; units: readonly string[]; ratio: number },
): Promise<ExperimentEstimate> {
  if (plan.kind === 'pin')
    return {
      summary: 'One instance and one model: what comes of it is described, and no winner is claimed.',
      median_days: null,
      assumptions: [],
      warnings: [],
    }
  if (plan.kind === 'shadow') return shadowEstimate(await groupsOf(db), plan)
  if (plan.metric === 'interruption_rate') return rateEstimate(db, now, { plan, units, ratio })
  const days = Math.max(7, plan.planned / Math.max(1, units.length))
  return {
    summary: `${units.length} units give ${units.length} unit-days a day: ${plan.planned} of them take ${shown(days)} days.`,
    median_days: null,
    assumptions: ['What differs by less than the interval at that point is not seen by then.'],
    warnings: await crowded(db, plan, units),
  }
}

async function groupsOf(db: Kysely<Schema>): Promise<number> {
  const pools = await db.selectFrom('pools').select('pool_id').execute()
  return new Set(pools.map(({ pool_id: id }) => familyGroupOf(parsePool(id)))).size
}

function shadowEstimate(groups: number, plan: ExperimentPlan): ExperimentEstimate {
  if (groups === 0)
    return {
      summary: 'No pool has a price yet, so there is nothing to score.',
      median_days: null,
      assumptions: [],
      warnings: ['Prices are needed first: docs/market.md.'],
    }
  const { blocksPerDay, minBlocksDays, plannedDays, halfWidthSd } = estimateBlocks(
    groups,
    plan.blockLength,
    sequenceOf(plan),
  )
  return {
    summary: `${groups} families of pools give ${shown(blocksPerDay)} blocks a day: the first verdict is possible after ${shown(minBlocksDays)} days, ${plan.planned} blocks take ${shown(plannedDays)}.`,
    median_days: null,
    assumptions: [
      `After ${plan.planned} blocks a difference of ${shown(halfWidthSd)} standard deviations between blocks is seen.`,
      'Every pool is scored all the time, and at least ten events happen.',
    ],
    warnings: [],
  }
}

async function rateEstimate(
  db: Kysely<Schema>,
  now: number,
  { plan, units, ratio }: { plan: ExperimentPlan; units: readonly string[]; ratio: number },
): Promise<ExperimentEstimate> {
  const seen = await interruptionsOf(db, units, now - LOOK_BACK)
  const perMonth = seen === 0 ? ASSUMED_PER_MONTH : seen / units.length / 3
  const share = 1 - (plan.arms[0]?.weight ?? 5000) / 10_000
  const { medianEvents, medianMonths, eventsPerMonth } = estimateRates(
    { units: units.length, share, perMonth, ratio },
    sequenceOf(plan).alpha,
  )
  const known = medianMonths !== null && medianEvents !== null
  return {
    summary: known
      ? `${units.length} units give ${shown(eventsPerMonth)} interruptions a month: ${shown(medianMonths)} months to a verdict in half of all such experiments (${medianEvents} events). ${SHADOW_INSTEAD}`
      : `A ratio of ${ratio} is not to be seen with interruptions. ${SHADOW_INSTEAD}`,
    median_days: known ? medianMonths * MONTH_DAYS : null,
    assumptions: [
      seen === 0
        ? `No unit was interrupted within 90 days: ${ASSUMED_PER_MONTH} a month is assumed for each.`
        : `${seen} interruptions of these units within 90 days.`,
      `The treatment has ${ratio} times the interruptions of control.`,
    ],
    warnings: await crowded(db, plan, units),
  }
}

async function interruptionsOf(db: Kysely<Schema>, units: readonly string[], since: number): Promise<number> {
  const row = await db
    .selectFrom('spot_interruption_events')
    .select(db.fn.countAll<number>().as('n'))
    .where('signal_type', '=', 'termination-notice')
    .where('detected_at', '>=', since)
    .where((eb) => eb.or([eb('agent_id', 'in', units), eb('instance_id', 'in', units)]))
    .executeTakeFirstOrThrow()
  return Number(row.n)
}

/** Pools of which the experiment has so much that its arms compete for the same capacity. */
async function crowded(
  db: Kysely<Schema>,
  plan: ExperimentPlan,
  units: readonly string[],
): Promise<string[]> {
  if (plan.unit === 'pool_day') return []
  const running = await db
    .selectFrom('instances')
    .select(['id', 'agent_id', 'pool_id'])
    .where('is_active', '=', 1)
    .execute()
  const pools = Map.groupBy(running, ({ pool_id: pool }) => pool)
  return [...pools].flatMap(([pool, own]) => {
    const ours = own.filter(({ id, agent_id: agent }) => units.includes(id) || units.includes(agent)).length
    if (ours < 2 || !interferes(ours, own.length)) return []
    return [
      `${ours} of ${own.length} instances in ${pool} are in it: assign whole pools instead (unit pool_day).`,
    ]
  })
}

const shown = (value: number): string => String(Number(value.toPrecision(2)))
