import { messageOf } from '@understudy/shared/core/app-error'
import { type Clock, millis } from '@understudy/shared/core/time'
import type { ModelManifest } from '@understudy/shared/protocol/model-manifest'
import type { ModelFacts, Qualification } from '@understudy/shared/protocol/models'
import { checkGolden, goldenValues } from './golden.ts'
import type { Batch } from './host/frames.ts'
import type { ModelHost } from './host/model-host.ts'
import { modelRefused } from './refusal.ts'
import { loadInto, type ModelFiles } from './served-model.ts'

/** Of a batch of 500 rows (system overview: time for a prediction). */
const BATCH = 500
const P99_LIMIT = 100
const RUNS = 100
/** Of everything that is done here. */
const QUALIFICATION_LIMIT = 10_000

export interface Qualified {
  readonly facts: ModelFacts
  readonly qualification: Qualification
}

/**
 * Reads a model, loads it and tries it in a process that nothing else depends on. The caller ends the process.
 * @throws AppError `model_refused` with the reason
 */
export async function qualify(
  host: ModelHost,
  manifest: ModelManifest,
  files: ModelFiles,
  clock: Clock,
  onScanned: (facts: ModelFacts) => Promise<void>,
): Promise<Qualified> {
  const start = clock.mono()
  const cancel = clock.timer(millis(QUALIFICATION_LIMIT), () => void host.close())
  try {
    const facts = await host.scan(files.model)
    checkAgainst(facts, manifest)
    if (files.scaler) await host.scan(files.scaler)
    await onScanned(facts)
    await loadInto(host, { manifest }, files)
    const maxError = await checkGolden(host, manifest)
    const { p50, p99 } = await timeBatches(host, manifest)
    if (p99 > P99_LIMIT)
      throw modelRefused(
        'TOO_SLOW',
        `a batch of ${BATCH} rows took ${p99.toFixed(1)} ms (p99); at most ${P99_LIMIT} ms are taken`,
        'Use fewer or smaller trees.',
      )
    const qualification: Qualification = {
      golden_rows: manifest.golden.length,
      golden_max_error: maxError,
      batch_p50_ms: p50,
      batch_p99_ms: p99,
      zero_rows: await behaviour(host, {
        rows: 0,
        width: manifest.input.features.length,
        values: new Float32Array(0),
      }),
      nan_row: await behaviour(host, nanRow(manifest)),
      rss_bytes: host.rss() ?? 0,
      took_ms: clock.mono() - start,
      at: new Date(clock.now()).toISOString(),
    }
    return { facts, qualification }
  } catch (error) {
    throw await whyEnded(host, error)
  } finally {
    cancel()
  }
}

/** A process that has ended by a limit says which one; that it cannot be reached is no reason. */
async function whyEnded(host: ModelHost, error: unknown): Promise<unknown> {
  if (host.alive) return error
  const { reason, said } = await host.ended
  if (reason === 'closed')
    return modelRefused(
      'TIME_LIMIT',
      `the trial of the model was not over within ${QUALIFICATION_LIMIT / 1000} s`,
    )
  return modelRefused(reason, said)
}

/** @throws AppError `model_refused` (MANIFEST_MISMATCH) */
function checkAgainst(facts: ModelFacts, manifest: ModelManifest): void {
  const { input, output, scaler, opset } = manifest
  const mismatch = (message: string) =>
    modelRefused('MANIFEST_MISMATCH', message, 'Correct the manifest, or export the model again.')
  const opsets = Object.values(facts.opsets)
  if (!opsets.includes(opset))
    throw mismatch(`the manifest says opset ${opset}; the model uses ${opsets.join(' and ')}`)
  const [only, ...others] = facts.inputs
  if (!only || others.length > 0)
    throw modelRefused(
      'NOT_TABULAR',
      `the model has ${facts.inputs.length} inputs; one table of features is needed`,
    )
  if (only.name !== input.name)
    throw mismatch(`the manifest names the input ${input.name}; the model has ${only.name}`)
  if (!scaler && only.dtype !== input.dtype)
    throw mismatch(`the manifest says that ${input.name} is ${input.dtype}; it is ${only.dtype}`)
  if (!scaler && only.width === null)
    throw modelRefused(
      'NOT_TABULAR',
      `the input ${input.name} does not say how many columns it has`,
      'Export it with [None, number of features].',
    )
  if (!scaler && only.width !== input.features.length)
    throw mismatch(`the manifest lists ${input.features.length} features; the model takes ${only.width}`)
  const out = facts.outputs.find(({ name }) => name === output.name)
  if (!out)
    throw mismatch(
      `the manifest names the output ${output.name}; the model has ${facts.outputs.map(({ name }) => name).join(', ')}`,
    )
  if (out.dtype !== 'float32' && out.dtype !== 'float64')
    throw modelRefused(
      'OUTPUT_SHAPE',
      `the output ${output.name} holds ${out.dtype}; probabilities are floating-point numbers`,
    )
  if (out.width !== null && output.index >= out.width)
    throw mismatch(
      `the output ${output.name} has ${out.width} columns; the manifest asks for column ${output.index}`,
    )
}

/** Golden rows over and over, since what a model does with made-up numbers says nothing of its speed. */
async function timeBatches(host: ModelHost, manifest: ModelManifest): Promise<{ p50: number; p99: number }> {
  const width = manifest.input.features.length
  const golden = goldenValues(manifest)
  const values = Float32Array.from({ length: BATCH * width }, (_, i) => golden[i % golden.length] ?? 0)
  const times: number[] = []
  for (let run = 0; run < RUNS; run += 1) times.push((await host.run({ rows: BATCH, width, values })).millis)
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.min(times.length - 1, Math.ceil(share * times.length) - 1)] ?? 0
  return { p50: at(0.5), p99: at(0.99) }
}

function nanRow({ input }: ModelManifest): Batch {
  const width = input.features.length
  return { rows: 1, width, values: new Float32Array(width).fill(Number.NaN) }
}

const behaviour = (host: ModelHost, batch: Batch): Promise<string> =>
  host.run(batch).then(
    ({ values }) => (values.length === 0 ? 'no values' : String(values[0])),
    (error: unknown) => `refused: ${messageOf(error).slice(0, 200)}`,
  )
