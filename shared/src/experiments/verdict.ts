import { hours, type Instant } from '../core/time.ts'
import { type BlockSummary, blockStart } from './blocks.ts'
import { type Interval, intervalOf } from './confidence-sequence.ts'
import type { CostComparison } from './cost.ts'
import type { RateResult } from './event-rates.ts'
import type { SafetyGuard, SampleRatio } from './guards.ts'
import { type ExperimentPlan, sequenceOf } from './plan.ts'

export const verdictNames = [
  'INSUFFICIENT',
  'WINNER',
  'FUTILE',
  'INCONCLUSIVE',
  'INVALID_SRM',
  'STOPPED_BY_GUARD',
] as const
export type VerdictName = (typeof verdictNames)[number]

/** What can be said of control and one treatment. All but INSUFFICIENT end the experiment. */
export interface Verdict {
  readonly verdict: VerdictName
  /** Of WINNER. */
  readonly winner: 'control' | 'treatment' | null
  readonly reason: string
  /** What would have to be there before anything else can be said. */
  readonly missing: readonly string[]
}

/** Where an experiment stands. */
export interface Standing {
  readonly plan: ExperimentPlan
  readonly startedAt: Instant
  readonly now: Instant
  /** Null where every unit is in every arm. */
  readonly ratio: SampleRatio | null
  readonly guard: SafetyGuard | null
  /** Names of the arms in which a unit has been; null where every unit is in every arm. */
  readonly filled: readonly string[] | null
}

const MIN_BLOCKS = 30
const MIN_DAYS = 7
const MIN_POSITIVES = 10
const DAY = hours(24)

/** How much better the treatment is in each block: control's loss less its own. */
export const lossDifferences = (blocks: readonly BlockSummary[], plan: ExperimentPlan): Interval =>
  intervalOf(
    counted(blocks).map(({ controlLoss, treatmentLoss }) => controlLoss - treatmentLoss),
    sequenceOf(plan),
  )

const counted = (blocks: readonly BlockSummary[]) => blocks.filter(({ rows }) => rows > 0)

/** Of paired losses. */
export function judgeLosses(blocks: readonly BlockSummary[], standing: Standing): Verdict {
  const { plan } = standing
  const missing = [
    ...missingArms(standing),
    ...missingBlocks(counted(blocks), plan),
    ...missingTime(standing),
  ]
  return judge(standing, missing, lossDifferences(blocks, plan), 'loss')
}

/** Of costs per useful hour. */
export function judgeCosts(costs: CostComparison, days: readonly number[], standing: Standing): Verdict {
  const { n } = costs.difference
  const missing = [
    ...missingArms(standing),
    ...(n < MIN_BLOCKS ? [`unit-days: ${n} of ${MIN_BLOCKS}`] : []),
    ...missingDays(days),
    ...missingTime(standing),
  ]
  return judge(standing, missing, costs.difference, 'USD per useful hour')
}

/** Of rates of events. The margin is the share by which the rates may differ. */
export function judgeRates(rates: RateResult, standing: Standing): Verdict {
  const { plan } = standing
  const missing = [...missingArms(standing), ...missingTime(standing)]
  const needed = 1 / sequenceOf(plan).alpha
  const range = `the rate of the treatment is ${shown(rates.lower)} to ${shown(rates.upper)} times that of control`
  return (
    stopped(standing) ??
    insufficient(standing, missing) ??
    (rates.eValue >= needed && rates.ratio !== null && beyond(rates, plan.margin)
      ? won(rates.ratio < 1 ? 'treatment' : 'control', `${range} (e-value ${shown(rates.eValue)})`)
      : undefined) ??
    (plan.margin > 0 && rates.lower >= 1 / (1 + plan.margin) && rates.upper <= 1 + plan.margin
      ? final('FUTILE', `${range}: they differ by less than the margin`)
      : undefined) ??
    undecided(standing, `an e-value of ${shown(needed)}: it is ${shown(rates.eValue)}, and ${range}`)
  )
}

const beyond = ({ lower, upper }: RateResult, margin: number): boolean =>
  margin === 0 || upper < 1 / (1 + margin) || lower > 1 + margin

function judge(standing: Standing, missing: readonly string[], interval: Interval, unit: string): Verdict {
  const { margin } = standing.plan
  const { lower, upper } = interval
  const range = `control less treatment is ${shown(lower)} to ${shown(upper)} ${unit}`
  return (
    stopped(standing) ??
    insufficient(standing, missing) ??
    (lower > margin ? won('treatment', range) : undefined) ??
    (upper < -margin ? won('control', range) : undefined) ??
    (lower >= -margin && upper <= margin
      ? final('FUTILE', `${range}: within the margin of ${margin}`)
      : undefined) ??
    undecided(standing, `a difference beyond the margin of ${margin}: ${range}`)
  )
}

/** What ends it whatever is measured. */
function stopped({ ratio, guard }: Standing): Verdict | undefined {
  if (ratio && !ratio.valid)
    return final('INVALID_SRM', `the arms were not filled as planned (p = ${ratio.p.toExponential(1)})`)
  if (guard?.breached)
    return final(
      'STOPPED_BY_GUARD',
      `the treatment misses ${shown(guard.missed.lower)} to ${shown(guard.missed.upper)} more of the events than control`,
    )
  return undefined
}

const isOver = ({ plan, startedAt, now }: Standing): boolean => now - startedAt >= plan.maxDuration

function insufficient(standing: Standing, missing: readonly string[]): Verdict | undefined {
  if (missing.length === 0) return undefined
  if (isOver(standing))
    return {
      ...final('INCONCLUSIVE', `its time is over and there was too little: ${missing.join('; ')}`),
      missing,
    }
  return {
    verdict: 'INSUFFICIENT',
    winner: null,
    reason: `there is too little yet: ${missing.join('; ')}`,
    missing,
  }
}

function undecided(standing: Standing, lacks: string): Verdict {
  if (isOver(standing))
    return { ...final('INCONCLUSIVE', `its time is over without ${lacks}`), missing: [lacks] }
  return { verdict: 'INSUFFICIENT', winner: null, reason: `there is not yet ${lacks}`, missing: [lacks] }
}

const won = (winner: 'control' | 'treatment', reason: string): Verdict => ({
  ...final('WINNER', `${winner} is better: ${reason}`),
  winner,
})

const final = (verdict: VerdictName, reason: string): Verdict => ({
  verdict,
  winner: null,
  reason,
  missing: [],
})

function missingBlocks(blocks: readonly BlockSummary[], { blockLength }: ExperimentPlan): string[] {
  const positives = blocks.reduce((sum, block) => sum + block.positives, 0)
  return [
    ...(blocks.length < MIN_BLOCKS ? [`blocks: ${blocks.length} of ${MIN_BLOCKS}`] : []),
    ...missingDays(blocks.map(({ index }) => Math.floor(blockStart(index, blockLength) / DAY))),
    ...(positives < MIN_POSITIVES ? [`events: ${positives} of ${MIN_POSITIVES}`] : []),
  ]
}

/** @param days numbers of UTC days since 1970 on which something was seen */
function missingDays(days: readonly number[]): string[] {
  const seen = new Set(days)
  // Day 0, 1 January 1970, was a Thursday.
  const weekend = [2, 3].map((offset) => [...seen].some((day) => day % 7 === offset))
  return [
    ...(seen.size < MIN_DAYS ? [`days: ${seen.size} of ${MIN_DAYS}`] : []),
    ...(weekend.every(Boolean) ? [] : ['days: a Saturday and a Sunday']),
  ]
}

/** Chance may put all units into one arm: then there is nothing to compare, however long it runs. */
function missingArms({ plan, filled }: Standing): string[] {
  const empty = plan.arms.filter(({ name }) => filled !== null && !filled.includes(name))
  if (filled === null || filled.length === 0 || empty.length === 0) return []
  const names = empty.map(({ name }) => name).join(' and ')
  const only = filled.length === 1 ? `only one arm is assigned (${filled[0]})` : `${names} has no unit`
  return [
    plan.unit === 'pool_day'
      ? `arms: ${only} so far; pools are drawn anew each day`
      : `arms: ${only}, and units never change theirs: register it anew, best with more units`,
  ]
}

function missingTime({ plan, startedAt, now }: Standing): string[] {
  const ran = now - startedAt
  if (ran >= plan.minDuration) return []
  return [`duration: ${shown(ran / DAY)} of ${shown(plan.minDuration / DAY)} days`]
}

const shown = (value: number): string =>
  Number.isFinite(value) ? String(Number(value.toPrecision(3))) : value > 0 ? 'infinitely many' : '-∞'

/** Of all treatments of one experiment: what stops one stops all, and the best winner is the winner. */
export function together(verdicts: readonly Verdict[]): Verdict & { readonly treatment: number } {
  const order: readonly ((verdict: Verdict) => boolean)[] = [
    ({ verdict }) => verdict === 'INVALID_SRM',
    ({ verdict }) => verdict === 'STOPPED_BY_GUARD',
    ({ verdict }) => verdict === 'INSUFFICIENT',
    ({ winner }) => winner === 'treatment',
    ({ winner }) => winner === 'control',
    ({ verdict }) => verdict === 'INCONCLUSIVE',
    () => true,
  ]
  for (const applies of order) {
    const treatment = verdicts.findIndex(applies)
    const verdict = verdicts[treatment]
    if (verdict) return { ...verdict, treatment }
  }
  throw new RangeError('an experiment without treatments has no verdict')
}
