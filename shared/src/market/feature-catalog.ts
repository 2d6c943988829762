/** One number about a pool at a moment, as a model sees it. */
export interface FeatureDefinition {
  readonly name: string
  /** `ln`: natural logarithm of a ratio, so that 0.05 is about 5 %. */
  readonly unit: 'ln' | 'hours' | 'count' | 'share'
  /** Whether it may be unknown, which is NaN in a row. */
  readonly nullable: boolean
  /** What it can be at all; a value beyond these is a mistake and not a surprising market. */
  readonly min: number
  readonly max: number
  readonly meaning: string
}

const define = <const Name extends string>(
  name: Name,
  unit: FeatureDefinition['unit'],
  range: readonly [min: number, max: number],
  meaning: string,
  nullable = false,
) => ({ name, unit, nullable, min: range[0], max: range[1], meaning })

/** No price moves by more than e^12 within a week. */
const LN = [-12, 12] as const
const UP = [0, 12] as const
const WINDOW_UNKNOWN = true
const PRICE_UNKNOWN = true

/** Of the pool's own price. `ownFeatures` writes them in this order. */
export const OWN_FEATURES = [
  define('ret_6h', 'ln', LN, 'change of the price over 6 h', WINDOW_UNKNOWN),
  define('ret_12h', 'ln', LN, 'change of the price over 12 h', WINDOW_UNKNOWN),
  define('ret_24h', 'ln', LN, 'change of the price over 24 h', WINDOW_UNKNOWN),
  define('ret_48h', 'ln', LN, 'change of the price over 48 h', WINDOW_UNKNOWN),
  define('ret_72h', 'ln', LN, 'change of the price over 72 h', WINDOW_UNKNOWN),
  define('ret_168h', 'ln', LN, 'change of the price over 168 h', WINDOW_UNKNOWN),
  define('last_step', 'ln', LN, 'size of the last change, 0 when it is over 168 h ago'),
  define('hours_since_change', 'hours', [0, 168], 'time since the last change, at most 168'),
  define('overdue', 'share', [0, 1e6], 'that time in mean intervals between the changes of the last 168 h'),
  define('changes_24h', 'count', [0, 1e5], 'changes in 24 h'),
  define('changes_168h', 'count', [0, 1e5], 'changes in 168 h'),
  define('risen_24h', 'ln', UP, 'sum of the rises in 24 h'),
  define('mean_step_168h', 'ln', UP, 'mean size of the changes in 168 h, up or down'),
  define(
    'price_position',
    'share',
    [0, 1],
    'place of the price in its range of 168 h, 0 when it did not move',
  ),
  define('range_width', 'ln', UP, 'highest over lowest price of 168 h'),
  define('above_mean_24h', 'ln', LN, 'price over its mean over 24 h'),
] as const

/** Of the pool beside others, its on-demand price, and the clock. */
export const OTHER_FEATURES = [
  define('headroom', 'ln', UP, 'on-demand price over spot price, at least 0', PRICE_UNKNOWN),
  define('discount_depth', 'share', [0, 1], '1 - spot over on-demand price, at least 0', PRICE_UNKNOWN),
  define('family_stress_mean', 'share', [0, 1], 'mean price_position of the family in the region'),
  define('family_stress_max', 'share', [0, 1], 'highest price_position of the family in the region'),
  define('hour_sin', 'share', [-1, 1], 'hour of the day (UTC) on a circle'),
  define('hour_cos', 'share', [-1, 1], 'hour of the day (UTC) on a circle'),
  define('is_weekend', 'share', [0, 1], '1 on Saturday and Sunday (UTC)'),
  define('is_business_hours', 'share', [0, 1], '1 from 9 to 17 h (UTC) on other days'),
] as const

export type FeatureName = (typeof OWN_FEATURES)[number]['name'] | (typeof OTHER_FEATURES)[number]['name']

/** Every feature there is. A model takes some of them, in the order of its manifest. */
export const featureCatalog: readonly (FeatureDefinition & { readonly name: FeatureName })[] = [
  ...OWN_FEATURES,
  ...OTHER_FEATURES,
]

/** What the default model takes: tried out one by one, see models/README.md. */
export const DEFAULT_MODEL_FEATURES: readonly FeatureName[] = [
  ...OWN_FEATURES.map(({ name }) => name),
  'headroom',
  'family_stress_mean',
  'family_stress_max',
]

export const isFeatureName = (name: string): name is FeatureName =>
  featureCatalog.some((feature) => feature.name === name)
