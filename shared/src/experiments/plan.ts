import { AppError } from '../core/app-error.ts'
import type { Millis } from '../core/time.ts'
import { type Arm, assertWeights } from './assignment.ts'
import type { Sequence } from './confidence-sequence.ts'

/**
 * shadow: all models score the same rows and only control acts. ab: each unit gets one model, which acts. pin: one instance,
 * one model; it describes and never claims a winner.
 */
export const experimentKinds = ['shadow', 'ab', 'pin'] as const
export type ExperimentKind = (typeof experimentKinds)[number]

/** What is compared, and how: losses of paired rows, rates of events, a ratio of sums. */
export const metricNames = ['brier', 'log_loss', 'interruption_rate', 'cost_per_useful_hour'] as const
export type MetricName = (typeof metricNames)[number]

/** What an arm is assigned to: rows are scored by all of them. */
export const unitNames = ['row', 'instance', 'pool_day'] as const
export type UnitName = (typeof unitNames)[number]

export interface PlannedArm extends Arm {
  readonly modelId: string
}

/** Registered before the start and never changed: another plan is another experiment. The first arm is control. */
export interface ExperimentPlan {
  readonly kind: ExperimentKind
  readonly hypothesis: string
  readonly metric: MetricName
  /** Which way is better: every metric that there is counts something unwanted. */
  readonly direction: 'lower'
  /** A difference that is not worth having, in the unit of the metric; for rates the share by which they differ. */
  readonly margin: number
  readonly alpha: number
  readonly arms: readonly PlannedArm[]
  readonly unit: UnitName
  readonly blockLength: Millis
  /** Blocks or unit-days at which the interval is to be the narrowest. */
  readonly planned: number
  readonly minDuration: Millis
  readonly maxDuration: Millis
  readonly guardrails: {
    /** How much more of the events a treatment may miss than control. */
    readonly missedMargin: number
  }
}

/** What each kind may measure, the usual one first. */
export const metricsOf: Readonly<Record<ExperimentKind, readonly MetricName[]>> = {
  shadow: ['brier', 'log_loss'],
  ab: ['interruption_rate', 'cost_per_useful_hour'],
  pin: metricNames,
}
/** What each kind may divide, the usual one first. */
export const unitsOf: Readonly<Record<ExperimentKind, readonly UnitName[]>> = {
  shadow: ['row'],
  ab: ['instance', 'pool_day'],
  pin: ['instance'],
}

/** @throws AppError `input_invalid` with what does not go together */
export function assertPlan(plan: ExperimentPlan): void {
  const { kind, metric, unit, arms } = plan
  if (!metricsOf[kind].includes(metric))
    throw refused('metric', `${kind} experiments measure ${metricsOf[kind].join(' or ')}, not ${metric}`)
  if (!unitsOf[kind].includes(unit))
    throw refused('unit', `the unit of ${kind} experiments is ${unitsOf[kind].join(' or ')}, not ${unit}`)
  if (plan.maxDuration < plan.minDuration)
    throw refused('max_duration_days', 'the longest duration is shorter than the shortest')
  if (new Set(arms.map(({ name }) => name)).size < arms.length)
    throw refused('arms', 'two arms have the same name')
  if (kind === 'pin') {
    if (arms.length !== 1) throw refused('arms', 'a pin has one arm: the model that the instance gets')
    return
  }
  assertWeights(arms)
  if (new Set(arms.map(({ modelId }) => modelId)).size < arms.length)
    throw refused('arms', 'two arms have the same model: there is nothing to compare')
}

const refused = (field: string, message: string): AppError =>
  new AppError('input_invalid', message, { errors: [{ pointer: `/${field}`, message }] })

/** What a comparison with control is held to: with several treatments each gets its part of alpha. */
export const sequenceOf = ({ alpha, arms, planned }: ExperimentPlan): Sequence => ({
  alpha: alpha / Math.max(1, arms.length - 1),
  planned,
})
