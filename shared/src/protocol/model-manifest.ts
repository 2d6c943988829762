import { z } from 'zod'

export const modelNameSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,49}$/, 'a model name has 1 to 50 of a-z, 0-9, dot, dash and underscore')

/** SemVer 2.0.0, without build metadata. */
export const modelVersionSchema = z
  .string()
  .max(64)
  .regex(
    /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$/,
    'a version looks like 1.0.0',
  )

const identifierSchema = z.string().min(1).max(200)
const ratioSchema = z.number().min(0).max(1)

/**
 * How a feature was distributed in training, for drift: `counts` of the bins between `edges` (ascending), or of those and
 * the two outside of them, below and above.
 */
const referenceSchema = z
  .looseObject({
    edges: z.array(z.number()).min(2).max(200),
    counts: z.array(z.number().nonnegative()).max(201),
    null_count: z.number().nonnegative().default(0),
  })
  .refine(({ edges }) => edges.every((edge, i) => i === 0 || edge >= (edges[i - 1] ?? edge)), {
    error: 'edges must not go down',
    path: ['edges'],
  })
  .refine(({ edges, counts }) => [edges.length - 1, edges.length + 1].includes(counts.length), {
    error: 'there must be one count for each bin between the edges, or two more for what lies outside',
    path: ['counts'],
  })

const featureSchema = z.looseObject({
  name: identifierSchema,
  unit: z.string().max(100),
  /** Only such a feature may be NaN. */
  nullable: z.boolean(),
  /** Of the training data; what lies outside is counted and never clipped. */
  min: z.number(),
  max: z.number(),
  ref: referenceSchema.optional(),
})
export type ModelFeature = z.infer<typeof featureSchema>

/** Turns what the model says into a probability. Platt: 1 / (1 + exp(a·x + b)), as in Platt 1999. Isotonic: linear between points. */
const calibrationSchema = z.discriminatedUnion('kind', [
  z.looseObject({ kind: z.literal('none') }),
  z.looseObject({ kind: z.literal('platt'), params: z.object({ a: z.number(), b: z.number() }) }),
  z.looseObject({
    kind: z.literal('isotonic'),
    params: z
      .object({ x: z.array(z.number()).min(2).max(10_000), y: z.array(ratioSchema).min(2).max(10_000) })
      .refine(({ x, y }) => x.length === y.length, { error: 'x and y must have the same length' })
      .refine(({ x }) => x.every((at, i) => i === 0 || at > (x[i - 1] ?? at)), { error: 'x must go up' }),
  }),
])
export type Calibration = z.infer<typeof calibrationSchema>

const goldenRowSchema = z.looseObject({
  /** Null is NaN. */
  x: z.array(z.number().nullable()),
  /** The probability that has to come out, after calibration. */
  y: ratioSchema,
  tol: z.number().positive().max(0.01).default(1e-4),
})

/**
 * What a model says of itself; it travels with the model file. Keys that are not known here are kept as they are, so that a
 * training pipeline may say more.
 */
export const manifestSchema = z
  .looseObject({
    name: modelNameSchema,
    version: modelVersionSchema,
    /** Of the model file. */
    sha256: z.string().regex(/^[0-9a-f]{64}$/, 'the SHA-256 of the model file in hex'),
    opset: z.int().min(1).max(100),
    input: z.looseObject({
      name: identifierSchema,
      dtype: z.enum(['float32', 'float64', 'int64']),
      features: z.array(featureSchema).min(1).max(1000),
    }),
    output: z.looseObject({
      name: identifierSchema,
      /** The column of the positive class. */
      index: z.int().min(0).max(1000),
      /** A margin is a log-odds value: it goes through the logistic function, or through `calibration` where that is given. */
      kind: z.enum(['probability', 'margin']),
      positive_class: z.union([z.string(), z.number()]),
    }),
    /** A file that is run before the model, with one input and one output. */
    scaler: z
      .looseObject({
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
        input: identifierSchema,
        output: identifierSchema,
      })
      .optional(),
    target: z.looseObject({
      id: identifierSchema,
      definition: z.string().min(1).max(2000),
      horizon_h: z.number().positive().max(8760),
    }),
    /** UTC dates; the last day of training data is included. */
    trained_until: z.iso.date(),
    train_from: z.iso.date().optional(),
    coverage: z.looseObject({
      regions: z.array(z.string().max(64)).max(200),
      families: z.array(z.string().max(64)).max(2000),
    }),
    decision_threshold: ratioSchema,
    calibration: calibrationSchema.optional(),
    train_metrics: z.looseObject({
      n: z.number().nonnegative(),
      base_rate: ratioSchema,
      precision: ratioSchema,
      recall: ratioSchema,
      f1: ratioSchema,
      auc: ratioSchema,
      threshold: ratioSchema,
    }),
    golden: z.array(goldenRowSchema).min(10, 'at least 10 golden rows').max(1000),
    /** Share of each feature, by name. */
    feature_importance: z.record(z.string(), z.number()).optional(),
  })
  .refine(({ input }) => new Set(input.features.map(({ name }) => name)).size === input.features.length, {
    error: 'every feature has a name of its own',
    path: ['input', 'features'],
  })
  .refine(({ input, golden }) => golden.every(({ x }) => x.length === input.features.length), {
    error: 'every golden row has one value for each feature',
    path: ['golden'],
  })
  .meta({ id: 'ModelManifest' })
export type ModelManifest = z.infer<typeof manifestSchema>
