/**
 * What the coordinator and the process of a model say to each other over one socket. A frame is a header of 12 bytes in
 * little-endian order (length of the content, kind, number of the call) and its content.
 */
export const frameKinds = { load: 1, loaded: 2, batch: 3, result: 4, failed: 5, scan: 6, scanned: 7 } as const
export type FrameKind = (typeof frameKinds)[keyof typeof frameKinds]

export interface Frame {
  readonly kind: number
  readonly call: number
  readonly content: Uint8Array
}

const HEADER = 12

/** To a process: a model, its scaler and what is said about them, at most. */
const LONGEST_REQUEST = 160 * 1024 * 1024
/** From a process, whose model may be hostile: the values of the largest batch, or the facts of a model. */
export const LONGEST_ANSWER = 4 * 1024 * 1024

export function encodeFrame(kind: FrameKind, call: number, ...parts: readonly Uint8Array[]): Uint8Array[] {
  const header = new DataView(new ArrayBuffer(HEADER))
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  header.setUint32(0, length, true)
  header.setUint32(4, kind, true)
  header.setUint32(8, call, true)
  return [new Uint8Array(header.buffer), ...parts]
}

/**
 * Puts frames together from what comes in. Returns what takes the next bytes.
 * @throws RangeError for a frame that is too long
 */
export function createFrameReader(
  onFrame: (frame: Frame) => void,
  longest = LONGEST_REQUEST,
): (chunk: Uint8Array) => void {
  const header = new Uint8Array(HEADER)
  let have = 0
  let content: Uint8Array | undefined
  let filled = 0

  function take(chunk: Uint8Array, at: number): number {
    if (!content) {
      const length = Math.min(HEADER - have, chunk.length - at)
      header.set(chunk.subarray(at, at + length), have)
      have += length
      if (have === HEADER) content = new Uint8Array(lengthOf(header, longest))
      return length
    }
    const length = Math.min(content.length - filled, chunk.length - at)
    content.set(chunk.subarray(at, at + length), filled)
    filled += length
    return length
  }

  return (chunk) => {
    let at = 0
    for (;;) {
      at += take(chunk, at)
      if (content && filled === content.length) {
        const view = new DataView(header.buffer)
        const frame = { kind: view.getUint32(4, true), call: view.getUint32(8, true), content }
        content = undefined
        have = 0
        filled = 0
        onFrame(frame)
      } else if (at >= chunk.length) return
    }
  }
}

function lengthOf(header: Uint8Array, longest: number): number {
  const length = new DataView(header.buffer).getUint32(0, true)
  if (length > longest) throw new RangeError(`a frame of ${length} bytes`)
  return length
}

/** What a process is told to load; the files follow as bytes. */
export interface LoadRequest {
  readonly modelBytes: number
  readonly scalerBytes: number
  readonly input: string
  readonly dtype: 'float32' | 'float64' | 'int64'
  readonly output: string
  /** The column of the positive class. */
  readonly index: number
  readonly scaler: { readonly input: string; readonly output: string } | null
}

export interface Batch {
  readonly rows: number
  readonly width: number
  readonly values: Float32Array
}

export function encodeBatch({ rows, width, values }: Batch): Uint8Array[] {
  const sizes = new Uint32Array([rows, width])
  return [new Uint8Array(sizes.buffer), new Uint8Array(values.buffer, values.byteOffset, values.byteLength)]
}

/** @throws RangeError when the sizes and the data do not go together */
export function decodeBatch(content: Uint8Array): Batch {
  const [rows = 0, width = 0] = new Uint32Array(content.slice(0, 8).buffer)
  if (content.length !== 8 + rows * width * 4) throw new RangeError('a batch has another length than it says')
  // As it came: a frame has memory of its own, and begins at a multiple of four bytes there.
  const isAligned = content.byteOffset % 4 === 0
  const { buffer, byteOffset } = isAligned ? content : content.slice()
  return { rows, width, values: new Float32Array(buffer, byteOffset + 8, rows * width) }
}

/** What a batch gave: one value for each row, as the model says it, and how the process is. */
export interface BatchResult {
  readonly values: Float64Array
  /** Within the runtime. */
  readonly millis: number
}

export const encodeResult = ({ values, millis }: BatchResult): Uint8Array[] => [
  new Uint8Array(new Float64Array([millis]).buffer),
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
]

export function decodeResult(content: Uint8Array): BatchResult {
  const all = new Float64Array(content.slice().buffer)
  return { millis: all[0] ?? 0, values: all.subarray(1) }
}

export const encodeJson = (value: unknown): Uint8Array => new Uint8Array(Buffer.from(JSON.stringify(value)))
export const decodeJson = (content: Uint8Array): unknown => JSON.parse(Buffer.from(content).toString('utf8'))
