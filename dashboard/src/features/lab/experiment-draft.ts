import { type MetricName, metricsOf, type UnitName, unitsOf } from '@understudy/shared/experiments/plan'
import type { RegisterExperimentRequest } from '@understudy/shared/protocol/experiments'

/** An experiment as somebody fills it in. Figures are NaN where a field is empty. */
export interface Draft {
  readonly kind: 'shadow' | 'ab'
  readonly hypothesis: string
  readonly metric: MetricName
  readonly unit: UnitName
  /** The first is control. */
  readonly arms: readonly DraftArm[]
  /** Agents that were chosen. */
  readonly targets: readonly string[]
  /** More targets, as they were typed. */
  readonly others: string
  readonly margin: number
  readonly alpha: number
  readonly planned: number
  readonly blockHours: number
  readonly minDays: number
  readonly maxDays: number
  readonly missedMargin: number
  readonly ratio: number
  /** As a field for a date and a time has it, in UTC; empty waits until somebody starts it. */
  readonly startsAt: string
}

export interface DraftArm {
  readonly name: string
  /** Empty until one is chosen. */
  readonly model: string
  /** Percent. */
  readonly share: number
}

export const MOST_ARMS = 4

/** The figures are those that the coordinator takes where nothing is said. */
export const emptyDraft: Draft = {
  kind: 'shadow',
  hypothesis: '',
  metric: 'brier',
  unit: 'row',
  arms: [
    { name: 'control', model: '', share: 50 },
    { name: 'treatment', model: '', share: 50 },
  ],
  targets: [],
  others: '',
  margin: 0,
  alpha: 0.05,
  planned: 200,
  blockHours: 12,
  minDays: 7,
  maxDays: 60,
  missedMargin: 0.05,
  ratio: 0.5,
  startsAt: '',
}

/** What is measured and divided goes with the kind. */
export const withKind = (draft: Draft, kind: Draft['kind']): Draft => ({
  ...draft,
  kind,
  metric: metricsOf[kind][0] ?? draft.metric,
  unit: unitsOf[kind][0] ?? draft.unit,
})

/** Shares are made equal, and add up to 100 %. */
export function withArms(draft: Draft, arms: readonly Omit<DraftArm, 'share'>[]): Draft {
  const each = Math.floor(10_000 / arms.length) / 100
  const first = Math.round((100 - each * (arms.length - 1)) * 100) / 100
  return { ...draft, arms: arms.map((arm, i) => ({ ...arm, share: i === 0 ? first : each })) }
}

const ranges = [
  ['margin', 'The margin', 0, 100],
  ['alpha', 'Alpha', 0.001, 0.2],
  ['planned', 'The planned number', 30, 100_000],
  ['blockHours', 'A block', 1, 24],
  ['minDays', 'The shortest duration', 0, 365],
  ['maxDays', 'The longest duration', 0, 365],
  ['missedMargin', 'The guard', 0, 1],
  ['ratio', 'The expected ratio', 0.05, 20],
] as const satisfies readonly (readonly [keyof Draft, string, number, number])[]
const whole: ReadonlySet<keyof Draft> = new Set(['planned', 'blockHours'])
const aboveZero: ReadonlySet<keyof Draft> = new Set(['minDays', 'maxDays'])

/** All targets, each once. */
export const unitsIn = ({ kind, targets, others }: Draft): readonly string[] =>
  kind === 'shadow' ? [] : [...new Set([...targets, ...others.split(/[\s,]+/).filter((id) => id !== '')])]

/** What is missing or does not go together, one sentence each; empty when it can be registered. */
export function problemsOf(draft: Draft, now: number): readonly string[] {
  return [
    ...claimProblems(draft),
    ...armProblems(draft.arms),
    ...unitProblems(draft),
    ...figureProblems(draft),
    ...startProblems(draft, now),
  ]
}

function claimProblems({ hypothesis, kind, metric, unit }: Draft): string[] {
  const length = hypothesis.trim().length
  return [
    ...(length < 10 || length > 2000 ? ['Say what you expect, in 10 to 2,000 characters.'] : []),
    ...(metricsOf[kind].includes(metric) && unitsOf[kind].includes(unit)
      ? []
      : ['What is measured does not go with this kind.']),
  ]
}

function armProblems(arms: Draft['arms']): string[] {
  const found: string[] = []
  for (const { name, model } of arms) {
    if (model === '') found.push(`Choose a version for ${name === '' ? 'each arm' : name}.`)
    if (!/^[a-z0-9][a-z0-9_-]{0,31}$/.test(name))
      found.push('The name of an arm is 1 to 32 small letters, digits and dashes.')
  }
  const models = arms.map(({ model }) => model).filter((model) => model !== '')
  if (new Set(models).size < models.length)
    found.push('Two arms have the same version: there is nothing to compare.')
  if (new Set(arms.map(({ name }) => name)).size < arms.length) found.push('Two arms have the same name.')
  const weights = arms.map(weightOf)
  const sum = weights.reduce((all, weight) => all + weight, 0)
  if (!(sum === 10_000 && weights.every((weight) => weight >= 1)))
    found.push('The shares of the arms have to add up to 100 %, none of them 0.')
  return [...new Set(found)]
}

const weightOf = ({ share }: DraftArm): number => Math.round(share * 100)

function unitProblems(draft: Draft): string[] {
  if (draft.kind === 'shadow') return []
  const units = unitsIn(draft)
  if (units.length < 2) return ['An A/B needs two targets or more.']
  return units.length > 200 ? ['An A/B has 200 targets at most.'] : []
}

function figureProblems(draft: Draft): string[] {
  const found = ranges.flatMap(([key, name, least, most]) => {
    const value = draft[key]
    const fits =
      value >= least &&
      value <= most &&
      (!whole.has(key) || Number.isInteger(value)) &&
      (!aboveZero.has(key) || value > 0)
    if (fits) return []
    const kind = whole.has(key) ? 'a whole number from' : 'from'
    return [
      `${name} is ${kind} ${least} to ${most.toLocaleString('en-US')}${aboveZero.has(key) ? ', and above 0' : ''}.`,
    ]
  })
  return draft.maxDays < draft.minDays
    ? [...found, 'The longest duration is shorter than the shortest.']
    : found
}

function startProblems({ startsAt }: Draft, now: number): string[] {
  if (startsAt === '') return []
  const at = Date.parse(`${startsAt}Z`)
  if (Number.isNaN(at)) return ['The start is a date and a time.']
  return at < now ? ['The start is in the past: leave it empty to start by hand.'] : []
}

/** For a draft without problems. */
export function toRequest(draft: Draft): RegisterExperimentRequest {
  return {
    kind: draft.kind,
    hypothesis: draft.hypothesis.trim(),
    metric: draft.metric,
    direction: 'lower',
    margin: draft.margin,
    alpha: draft.alpha,
    arms: draft.arms.map((arm) => ({ name: arm.name, model_id: arm.model, weight: weightOf(arm) })),
    unit: draft.unit,
    instance_ids: [...unitsIn(draft)],
    block_hours: draft.blockHours,
    planned: draft.planned,
    min_duration_days: draft.minDays,
    max_duration_days: draft.maxDays,
    guardrails: { missed_margin: draft.missedMargin },
    expected_ratio: draft.ratio,
    ...(draft.startsAt === '' ? {} : { starts_at: new Date(`${draft.startsAt}Z`).toISOString() }),
  }
}
