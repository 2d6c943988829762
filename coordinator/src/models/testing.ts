import { createHash } from 'node:crypto'
import { type ModelManifest, manifestSchema } from '@understudy/shared/protocol/model-manifest'
import { logisticModel } from './onnx/testing.ts'

/** The store of alerts without anything that raises them. */
export { createModelAlerts } from './alerts.ts'

export const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex')

export interface TestModel {
  readonly file: Uint8Array
  readonly manifest: ModelManifest
}

export const logistic = (z: number) => 1 / (1 + Math.exp(-z))

/** p = 1 / (1 + exp(-(x0 + 2·x1 + bias))), with golden rows that are right unless `change` says otherwise. */
export function testModel(
  options: {
    readonly name?: string
    readonly version?: string
    readonly bias?: number
    readonly file?: Uint8Array
    readonly change?: (manifest: Record<string, unknown> & { golden: { x: number[]; y: number }[] }) => void
  } = {},
): TestModel {
  const bias = options.bias ?? 0
  const file = options.file ?? logisticModel([1, 2], bias)
  const feature = (name: string) => ({ name, unit: '1', nullable: false, min: -10, max: 10 })
  const golden = Array.from({ length: 10 }, (_, i) => {
    const x = [i / 4 - 1, 1 - i / 8]
    return { x, y: logistic((x[0] ?? 0) + 2 * (x[1] ?? 0) + bias) }
  })
  const manifest = {
    name: options.name ?? 'price-instability',
    version: options.version ?? '1.0.0',
    sha256: sha256(file),
    opset: 17,
    input: { name: 'x', dtype: 'float32', features: [feature('a'), feature('b')] },
    output: { name: 'p', index: 0, kind: 'probability', positive_class: 1 },
    target: { id: 'rise-3-percent-12-h', definition: 'the price rises by 3 % within 12 h', horizon_h: 12 },
    trained_until: '2020-06-30',
    coverage: { regions: ['us-east-1'], families: ['m5'] },
    decision_threshold: 0.5,
    train_metrics: {
      n: 1000,
      base_rate: 0.1,
      precision: 0.5,
      recall: 0.8,
      f1: 0.6,
      auc: 0.9,
      threshold: 0.5,
    },
    golden,
  }
  options.change?.(manifest)
  return { file, manifest: manifestSchema.parse(manifest) }
}

/** A multipart body as a browser sends it. */
export function uploadForm(
  { file, manifest }: { file: Uint8Array; manifest?: unknown },
  fields: Record<string, string> = {},
): FormData {
  const form = new FormData()
  for (const [name, value] of Object.entries(fields)) form.append(name, value)
  form.append('file', new Blob([file as Uint8Array<ArrayBuffer>]), 'model.onnx')
  if (manifest !== undefined) form.append('manifest', new Blob([JSON.stringify(manifest)]), 'manifest.json')
  return form
}
