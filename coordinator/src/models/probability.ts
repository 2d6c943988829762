import { AppError } from '@understudy/shared/core/app-error'
import type { Calibration, ModelManifest } from '@understudy/shared/protocol/model-manifest'
import type { Batch } from './host/frames.ts'
import { modelRefused } from './refusal.ts'

/** No batch has more rows. */
const MOST_ROWS = 50_000

type Columns = Pick<ModelManifest, 'input'>

/**
 * Checks rows before a model sees them: a NaN would go down some branch of a tree without a word.
 * @param values row after row
 * @throws AppError `input_invalid`
 */
export function toBatch({ input }: Columns, values: Float32Array): Batch {
  const width = input.features.length
  if (values.length % width !== 0)
    throw new AppError(
      'input_invalid',
      `the model takes ${width} features; ${values.length} values are no whole rows`,
    )
  const rows = values.length / width
  if (rows > MOST_ROWS) throw new AppError('input_invalid', `a batch may have ${MOST_ROWS} rows, not ${rows}`)
  const nullable = Uint8Array.from(input.features, (feature) => Number(feature.nullable))
  for (let row = 0, i = 0; row < rows; row += 1)
    for (let column = 0; column < width; column += 1, i += 1) {
      const value = values[i] as number
      // Neither NaN nor infinite.
      if (value - value === 0) continue
      if (nullable[column] === 1 && Number.isNaN(value)) continue
      const { name, nullable: mayMiss } = input.features[column] as ModelManifest['input']['features'][number]
      throw new AppError('input_invalid', `row ${row} has ${value} for ${name}`, {
        hint: mayMiss ? 'A missing value is NaN.' : 'Leave the row out, or give it a number.',
      })
    }
  return { rows, width, values }
}

type Meaning = Pick<ModelManifest, 'output' | 'calibration'>

/**
 * What a model has said, as probabilities.
 * @throws AppError `model_refused` (OUTPUT_NOT_FINITE, OUTPUT_OUT_OF_RANGE)
 */
export function toProbabilities({ output, calibration }: Meaning, raw: Float64Array): Float64Array {
  const calibrated = calibration !== undefined && calibration.kind !== 'none'
  return raw.map((value, row) => {
    if (!Number.isFinite(value))
      throw modelRefused('OUTPUT_NOT_FINITE', `the model gave ${value} for row ${row}`)
    if (output.kind === 'probability' && !isProbability(value)) throw outOfRange(value, row)
    const p = calibrated ? calibrate(calibration, value) : output.kind === 'margin' ? logistic(value) : value
    if (!isProbability(p)) throw outOfRange(p, row)
    // Sums of float32 leaves may be a rounding error beyond.
    return Math.min(1, Math.max(0, p))
  })
}

const ROUNDING = 1e-6
const isProbability = (value: number): boolean => value >= -ROUNDING && value <= 1 + ROUNDING

const outOfRange = (value: number, row: number) =>
  modelRefused('OUTPUT_OUT_OF_RANGE', `the model gave ${value} for row ${row}, which is no probability`)

const logistic = (x: number): number => 1 / (1 + Math.exp(-x))

function calibrate(calibration: Calibration, x: number): number {
  if (calibration.kind === 'platt') return 1 / (1 + Math.exp(calibration.params.a * x + calibration.params.b))
  if (calibration.kind === 'isotonic') return interpolate(calibration.params.x, calibration.params.y, x)
  return x
}

/** Linear between points, level outside of them. */
function interpolate(xs: readonly number[], ys: readonly number[], x: number): number {
  const after = xs.findIndex((at) => at >= x)
  if (after === -1) return ys.at(-1) ?? Number.NaN
  const [x1 = 0, y1 = 0] = [xs[after], ys[after]]
  if (after === 0) return y1
  const [x0 = 0, y0 = 0] = [xs[after - 1], ys[after - 1]]
  return y0 + ((y1 - y0) * (x - x0)) / (x1 - x0)
}
