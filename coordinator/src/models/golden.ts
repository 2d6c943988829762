import type { ModelManifest } from '@understudy/shared/protocol/model-manifest'
import type { ModelHost } from './host/model-host.ts'
import { toBatch, toProbabilities } from './probability.ts'
import { modelRefused } from './refusal.ts'

/** The rows that every start of a model has to answer as training did. */
export const goldenValues = ({ golden }: Pick<ModelManifest, 'golden'>): Float32Array =>
  Float32Array.from(golden.flatMap(({ x }) => x.map((value) => value ?? Number.NaN)))

/**
 * Returns the largest difference.
 * @throws AppError `model_refused` (GOLDEN_MISMATCH, and what the outputs are refused for), `input_invalid`, `unavailable`
 */
export async function checkGolden(host: ModelHost, manifest: ModelManifest): Promise<number> {
  const batch = toBatch(manifest, goldenValues(manifest))
  const answers = toProbabilities(manifest, (await host.run(batch)).values)
  const rows = manifest.golden.map(({ y, tol }, row) => {
    const got = answers[row] ?? Number.NaN
    return { row, y, got, tol, off: Math.abs(got - y) }
  })
  const wrong = rows.filter(({ off, tol }) => !(off <= tol))
  const [first] = wrong
  if (first)
    throw modelRefused(
      'GOLDEN_MISMATCH',
      `${wrong.length} of ${rows.length} golden rows came out wrong; row ${first.row} gave ${first.got}, not ${first.y}`,
      'The file is not the one that the manifest describes, or the export has changed its answers. Make the golden rows from the exported file.',
    )
  return Math.max(...rows.map(({ off }) => off))
}
