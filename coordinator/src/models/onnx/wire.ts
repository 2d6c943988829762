import { modelRefused } from '../refusal.ts'

/** No field of a model is longer. */
const LONGEST = 2 ** 31

/**
 * Walks over the fields of one protobuf message without copying anything. Every length is checked against the end of the
 * message, so that nothing outside of it is read. After `next` has returned true the other members are of that field.
 */
export interface WireReader {
  readonly number: number
  /** 0 varint, 1 eight bytes, 2 bytes, 5 four bytes. */
  readonly wire: number
  /** Of a varint; exact up to 2^53, and -1 for every number below zero. */
  readonly value: number
  /** Where the bytes of a field of wire type 2 are. */
  readonly start: number
  readonly end: number
  /** @throws AppError `model_refused` (NOT_ONNX) */
  next(): boolean
}

export function readWire(bytes: Uint8Array, from: number, to: number): WireReader {
  let at = from

  function varint(): number {
    if (at < to) {
      const byte = bytes[at] ?? 0
      if (byte < 0x80) {
        at += 1
        return byte
      }
    }
    return longVarint()
  }

  function longVarint(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < 10; i += 1) {
      if (at >= to) throw cutOff()
      const byte = bytes[at] ?? 0
      at += 1
      value += (byte & 0x7f) * scale
      // Bit 63 is the sign, and the only bit of the tenth byte.
      if (byte < 0x80) return i === 9 && byte > 0 ? -1 : value
      scale *= 128
    }
    throw malformed('a number has more than ten bytes')
  }

  function skip(length: number): void {
    if (length < 0 || length >= LONGEST) throw malformed(`a field says that it has ${length} bytes`)
    if (length > to - at) throw cutOff()
    reader.start = at
    at += length
    reader.end = at
  }

  const reader = {
    number: 0,
    wire: 0,
    value: 0,
    start: 0,
    end: 0,
    next(): boolean {
      if (at >= to) return false
      const key = varint()
      if (key < 8 || key >= 2 ** 32) throw malformed('a field has a number that no field has')
      reader.wire = key & 7
      reader.number = key >>> 3
      switch (reader.wire) {
        case 0:
          reader.value = varint()
          return true
        case 1:
          skip(8)
          return true
        case 2:
          skip(varint())
          return true
        case 5:
          skip(4)
          return true
        default:
          throw malformed(`a field has the wire type ${reader.wire}`)
      }
    },
  }
  return reader
}

const cutOff = () =>
  modelRefused('NOT_ONNX', 'the file ends in the middle of a field: it is cut off or damaged', UPLOAD_AGAIN)

const malformed = (what: string) =>
  modelRefused('NOT_ONNX', `the file is not a readable ONNX model: ${what}`, UPLOAD_AGAIN)

const UPLOAD_AGAIN = 'Check the file with onnx.checker.check_model(path) and upload it again.'
