import { modelRefused } from '../refusal.ts'
import { dtypeName, modelLimits } from './allowed.ts'
import { readText } from './text.ts'
import { readWire } from './wire.ts'

/** An input or an output. */
export interface ValueFacts {
  readonly name: string
  readonly dtype: string
  /** Columns; null when the model does not say. */
  readonly width: number | null
}

/** A size, or null where it is a name or missing. */
type Dimension = number | null

/** @throws AppError `model_refused`: NOT_TABULAR, NOT_ONNX */
export function readValueInfo(bytes: Uint8Array, from: number, to: number): ValueFacts {
  let name = ''
  let type: Omit<ValueFacts, 'name'> = { dtype: 'unknown', width: null }
  const reader = readWire(bytes, from, to)
  while (reader.next()) {
    if (reader.wire !== 2 || reader.number > 4) throw strange('an input or output')
    if (reader.number === 1) name = readText(bytes, reader.start, reader.end)
    if (reader.number === 2) type = readType(bytes, reader.start, reader.end)
  }
  return { name, ...type }
}

/** Sequences and maps are named as such: they can be outputs that nobody asks for. */
function readType(bytes: Uint8Array, from: number, to: number): Omit<ValueFacts, 'name'> {
  let type: Omit<ValueFacts, 'name'> = { dtype: 'unknown', width: null }
  const reader = readWire(bytes, from, to)
  while (reader.next()) {
    if (reader.wire !== 2) throw strange('a type')
    if (reader.number === 1) type = readTensorType(bytes, reader.start, reader.end)
    else if (reader.number !== 6) type = { dtype: 'not a tensor', width: null }
  }
  return type
}

function readTensorType(bytes: Uint8Array, from: number, to: number): Omit<ValueFacts, 'name'> {
  let dtype = 'unknown'
  let dimensions: Dimension[] = []
  const reader = readWire(bytes, from, to)
  while (reader.next()) {
    if (reader.number === 1 && reader.wire === 0) dtype = dtypeName(reader.value)
    else if (reader.number === 2 && reader.wire === 2) dimensions = readShape(bytes, reader.start, reader.end)
    else throw strange('a tensor type')
  }
  return { dtype, width: dimensions.length === 2 ? (dimensions[1] ?? null) : null }
}

function readShape(bytes: Uint8Array, from: number, to: number): Dimension[] {
  const dimensions: Dimension[] = []
  const reader = readWire(bytes, from, to)
  while (reader.next()) {
    if (reader.number !== 1 || reader.wire !== 2) throw strange('a shape')
    dimensions.push(readDimension(bytes, reader.start, reader.end))
    if (dimensions.length > 8)
      throw modelRefused('NOT_TABULAR', 'an input or output has more than 8 dimensions')
  }
  const [, ...rest] = dimensions
  for (const size of rest)
    if (size !== null && (size < 0 || size > modelLimits.width))
      throw modelRefused(
        'NOT_TABULAR',
        `an input or output has ${size} columns; at most ${modelLimits.width} are taken`,
      )
  return dimensions
}

function readDimension(bytes: Uint8Array, from: number, to: number): Dimension {
  let size: Dimension = null
  const reader = readWire(bytes, from, to)
  while (reader.next()) if (reader.number === 1 && reader.wire === 0) size = reader.value
  return size
}

const strange = (what: string) =>
  modelRefused('NOT_ONNX', `the file is not a readable ONNX model: ${what} has a field that is not known`)
