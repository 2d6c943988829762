import { type ModelManifest, manifestSchema } from '@understudy/shared/protocol/model-manifest'

/**
 * Two variants of a model for the Lab of the demo. Each is the same file with another calibration, so nothing is trained and
 * what is said of them follows from what is known of the original.
 */
export function variantsOf(original: ModelManifest): {
  readonly cautious: ModelManifest
  readonly twoLevel: ModelManifest
} {
  return { cautious: cautiousOf(original), twoLevel: twoLevelOf(original) }
}

type Points = { readonly x: number[]; readonly y: number[] }

const STEPS = 400
const doubledOdds = (p: number): number => (2 * p) / (1 + p)

/** Its odds are doubled, so it sees risk earlier: the same order of pools, the same threshold. */
function cautiousOf(original: ModelManifest): ModelManifest {
  const x = Array.from({ length: STEPS + 1 }, (_, i) => i / STEPS)
  const { train_metrics: metrics } = original
  return variant(original, {
    name: `${original.name}-cautious`,
    description: `${original.name} ${original.version} with its odds doubled; not trained anew`,
    points: { x, y: x.map(doubledOdds) },
    // What was measured at a threshold holds at where that threshold has moved to.
    metrics: { ...metrics, threshold: doubledOdds(metrics.threshold) },
  })
}

/** It only says whether the original is above its threshold, by how often that was followed by the event. */
function twoLevelOf(original: ModelManifest): ModelManifest {
  const { base_rate: base, precision, recall, threshold } = original.train_metrics
  const flagged = (base * recall) / precision
  const high = precision
  const low = (base * (1 - recall)) / (1 - flagged)
  const falsePositives = (flagged * (1 - precision)) / (1 - base)
  return variant(original, {
    name: `${original.name}-two-level`,
    description: `Whether ${original.name} ${original.version} is above its threshold, and how often each of both came true`,
    points: { x: [0, threshold - 1e-6, threshold, 1], y: [low, low, high, high] },
    metrics: { ...original.train_metrics, auc: (recall + 1 - falsePositives) / 2 },
  })
}

function variant(
  original: ModelManifest,
  change: {
    readonly name: string
    readonly description: string
    readonly points: Points
    readonly metrics: ModelManifest['train_metrics']
  },
): ModelManifest {
  // The distribution of its scores is that of the original no more.
  const { ref: _, ...output } = original.output as ModelManifest['output'] & { ref?: unknown }
  return manifestSchema.parse({
    ...original,
    name: change.name,
    version: '1.0.0',
    description: change.description,
    output,
    calibration: { kind: 'isotonic', params: change.points },
    train_metrics: change.metrics,
    golden: original.golden.map((row) => ({ ...row, y: between(change.points, row.y) })),
  })
}

/** Linear between points. */
function between({ x, y }: Points, at: number): number {
  const after = Math.max(
    1,
    x.findIndex((point) => point >= at),
  )
  const [x0 = 0, x1 = 1, y0 = 0, y1 = 1] = [x[after - 1], x[after], y[after - 1], y[after]]
  return y0 + ((y1 - y0) * (at - x0)) / (x1 - x0)
}
