import { modelRefused } from '../refusal.ts'
import { elementBytes, modelLimits, STRING_TYPE } from './allowed.ts'
import { readText } from './text.ts'
import { readWire, type WireReader } from './wire.ts'

interface TensorFacts {
  readonly name: string
  /** What it takes in memory, by its shape. */
  readonly bytes: number
}

interface TensorSoFar {
  name: string
  elements: number
  type: number
  /** Bytes of `raw_data`. */
  raw: number
  /** Values in the other fields; packed ones count by their bytes, which is never less. */
  listed: number
}

/**
 * A constant of the model. Its shape must be covered by its data, so that a few bytes cannot ask for gigabytes.
 * @throws AppError `model_refused`: EXTERNAL_DATA, INITIALIZERS_TOO_LARGE, NOT_ONNX
 */
export function readTensor(bytes: Uint8Array, from: number, to: number): TensorFacts {
  const tensor: TensorSoFar = { name: '', elements: 1, type: 0, raw: 0, listed: 0 }
  const reader = readWire(bytes, from, to)
  while (reader.next()) readField(tensor, bytes, reader)
  const each = tensor.type === STRING_TYPE ? 1 : elementBytes[tensor.type]
  if (each === undefined)
    throw modelRefused('NOT_TABULAR', `a constant has the type ${tensor.type}, which is not taken`)
  const needed = tensor.elements * each
  if (needed > modelLimits.initializerBytes)
    throw modelRefused(
      'INITIALIZERS_TOO_LARGE',
      `the constant ${JSON.stringify(tensor.name)} says that it has ${needed} bytes`,
    )
  if (tensor.raw === 0 ? tensor.listed < tensor.elements : tensor.raw !== needed)
    throw modelRefused(
      'NOT_ONNX',
      `the constant ${JSON.stringify(tensor.name)} has less or more data than its shape says`,
    )
  return { name: tensor.name, bytes: Math.max(needed, tensor.raw) }
}

function readField(tensor: TensorSoFar, bytes: Uint8Array, reader: WireReader): void {
  const { number, wire, start, end } = reader
  switch (number) {
    case 1:
      if (wire === 0) addDimension(tensor, reader.value)
      else for (const value of packed(bytes, start, end)) addDimension(tensor, value)
      break
    case 2:
      tensor.type = reader.value
      break
    case 4: // float_data
    case 5: // int32_data
    case 6: // string_data
    case 7: // int64_data
    case 10: // double_data
    case 11: // uint64_data
      tensor.listed += wire === 2 && number !== 6 ? end - start : 1
      break
    case 8:
      tensor.name = readText(bytes, start, end)
      break
    case 9:
      tensor.raw = end - start
      break
    case 12: // doc_string
    case 16: // metadata_props
      break
    case 13:
      throw external()
    case 14:
      if (reader.value !== 0) throw external()
      break
    default:
      throw modelRefused('NOT_ONNX', `a constant has a field that is not taken (${number})`)
  }
}

const external = () =>
  modelRefused(
    'EXTERNAL_DATA',
    'the model keeps data in other files, which could be any file of this machine',
    'Save it as one file: onnx.save_model(model, path, save_as_external_data=False).',
  )

function addDimension(tensor: TensorSoFar, size: number): void {
  if (size < 0) throw modelRefused('NOT_ONNX', 'a constant has a negative size')
  tensor.elements *= size
}

/** Varints one after another; of a shape, so there are few. */
function packed(bytes: Uint8Array, start: number, end: number): number[] {
  const values: number[] = []
  let value = 0
  let scale = 1
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] ?? 0
    value += (byte & 0x7f) * scale
    scale *= 128
    if (byte >= 0x80) continue
    values.push(value)
    value = 0
    scale = 1
    if (values.length > 16) throw modelRefused('NOT_ONNX', 'a constant has more than 16 dimensions')
  }
  return values
}
