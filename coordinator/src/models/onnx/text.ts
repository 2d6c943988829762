import { modelRefused } from '../refusal.ts'
import { modelLimits } from './allowed.ts'

const decoder = new TextDecoder('utf-8', { fatal: true })

/** A name within a model. @throws AppError `model_refused` (NOT_ONNX) */
export function readText(bytes: Uint8Array, start: number, end: number): string {
  if (end - start > modelLimits.nameBytes)
    throw modelRefused('NOT_ONNX', `a name in the model has ${end - start} bytes`)
  try {
    return decoder.decode(bytes.subarray(start, end))
  } catch (cause) {
    throw Object.assign(modelRefused('NOT_ONNX', 'a name in the model is not valid UTF-8'), { cause })
  }
}
