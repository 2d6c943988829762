import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import { availableParallelism } from 'node:os'
import { messageOf } from '@understudy/shared/core/app-error'
import type { InferenceSession, Tensor } from 'onnxruntime-node'
import { scanOnnx } from '../onnx/scan.ts'
import { refusalOf } from '../refusal.ts'
import {
  createFrameReader,
  decodeBatch,
  decodeJson,
  encodeFrame,
  encodeJson,
  encodeResult,
  type Frame,
  type FrameKind,
  frameKinds,
  type LoadRequest,
} from './frames.ts'

/**
 * The process of one model: it has no environment, an empty directory and limits on its memory, and it is ended by SIGKILL.
 * The runtime blocks its thread while it works, which is why nothing else lives here. `.ci/build.ts` puts it in a file of its
 * own: coordinator-model-host.js.
 */

type Runtime = typeof import('onnxruntime-node')

/** Found beside the bundle, or in the packages of a checkout; read when the first model comes. */
const loadRuntime = (): Runtime => createRequire(import.meta.url)('onnxruntime-node') as Runtime

/**
 * In order, nothing that the upload could choose. Two threads share the rows of a batch and sleep in between: whoever asks for
 * thousands of rows waits half as long, and no machine is taken up by one model.
 */
const options: InferenceSession.SessionOptions = {
  executionProviders: ['cpu'],
  intraOpNumThreads: Math.min(2, availableParallelism()),
  interOpNumThreads: 1,
  executionMode: 'sequential',
  graphOptimizationLevel: 'all',
  logSeverityLevel: 4,
  extra: { session: { intra_op: { allow_spinning: '0' } } },
}

interface Loaded {
  readonly runtime: Runtime
  readonly model: InferenceSession
  readonly scaler: InferenceSession | undefined
  readonly request: LoadRequest
}

const socket = new Socket({ fd: 3 })
let loaded: Loaded | undefined

function send(kind: FrameKind, call: number, ...parts: Uint8Array[]): void {
  socket.cork()
  for (const part of encodeFrame(kind, call, ...parts)) socket.write(part)
  socket.uncork()
}

async function load(content: Uint8Array): Promise<void> {
  const length = new DataView(content.buffer, content.byteOffset).getUint32(0, true)
  const request = decodeJson(content.subarray(4, 4 + length)) as LoadRequest
  const modelAt = 4 + length
  const scalerAt = modelAt + request.modelBytes
  const runtime = loadRuntime()
  const model = await runtime.InferenceSession.create(content.slice(modelAt, scalerAt), options)
  const scaler = request.scaler
    ? await runtime.InferenceSession.create(content.slice(scalerAt, scalerAt + request.scalerBytes), options)
    : undefined
  loaded = { runtime, model, scaler, request }
}

function inputTensor({ runtime, request }: Loaded, content: Uint8Array): Tensor {
  const { rows, width, values } = decodeBatch(content)
  const dims = [rows, width]
  if (request.dtype === 'float64') return new runtime.Tensor('float64', Float64Array.from(values), dims)
  if (request.dtype === 'int64')
    return new runtime.Tensor(
      'int64',
      BigInt64Array.from(values, (value) => BigInt(Math.trunc(value))),
      dims,
    )
  return new runtime.Tensor('float32', values, dims)
}

async function runBatch(content: Uint8Array): Promise<Uint8Array[]> {
  if (!loaded) throw new Error('no model has been loaded')
  const { model, scaler, request } = loaded
  let input = inputTensor(loaded, content)
  const [rows = 0] = input.dims
  const start = performance.now()
  if (scaler && request.scaler) {
    const scaled = await scaler.run({ [request.scaler.input]: input }, [request.scaler.output])
    input = tensorOf(scaled[request.scaler.output], request.scaler.output)
  }
  const outputs = await model.run({ [request.input]: input }, [request.output])
  const millis = performance.now() - start
  const values = columnOf(tensorOf(outputs[request.output], request.output), rows, request)
  return encodeResult({ values, millis })
}

function tensorOf(value: Tensor | undefined, name: string): Tensor {
  if (!value) throw new Error(`there is no output ${name}`)
  return value
}

/** The column of the positive class, as float64. */
function columnOf({ data, dims, type }: Tensor, rows: number, { index, output }: LoadRequest): Float64Array {
  if (type !== 'float32' && type !== 'float64')
    throw new ShapeError(`the output ${output} holds ${type}, not floating-point numbers`)
  const width = dims.length === 1 ? 1 : dims.length === 2 ? (dims[1] ?? 0) : 0
  if (dims[0] !== rows || width === 0)
    throw new ShapeError(`the output ${output} has the shape [${dims.join(', ')}] for ${rows} rows`)
  if (index >= width)
    throw new ShapeError(`the output ${output} has ${width} columns; column ${index} is asked for`)
  const all = data as Float32Array | Float64Array
  return Float64Array.from({ length: rows }, (_, row) => all[row * width + index] ?? Number.NaN)
}

class ShapeError extends Error {}

async function answer({ kind, call, content }: Frame): Promise<void> {
  switch (kind) {
    case frameKinds.scan:
      return send(frameKinds.scanned, call, encodeJson(scanOnnx(content)))
    case frameKinds.load:
      await load(content)
      return send(frameKinds.loaded, call)
    case frameKinds.batch:
      return send(frameKinds.result, call, ...(await runBatch(content)))
    default:
      throw new Error(`a frame of the kind ${kind}`)
  }
}

function codeOf(error: unknown, kind: number): string {
  if (error instanceof ShapeError) return 'OUTPUT_SHAPE'
  if (/bad_?alloc|allocate|out of memory|Array buffer allocation/i.test(messageOf(error)))
    return 'MEMORY_LIMIT'
  return refusalOf(error) ?? (kind === frameKinds.load ? 'LOAD_FAILED' : 'RUN_FAILED')
}

const hintOf = (error: unknown): string | undefined =>
  typeof error === 'object' && error !== null && 'hint' in error ? String(error.hint) : undefined

/** One at a time, in the order in which they came. */
let tail: Promise<void> = Promise.resolve()
const read = createFrameReader((frame) => {
  tail = tail.then(() =>
    answer(frame).catch((error: unknown) =>
      send(
        frameKinds.failed,
        frame.call,
        encodeJson({
          code: codeOf(error, frame.kind),
          message: messageOf(error).slice(0, 1000),
          hint: hintOf(error),
        }),
      ),
    ),
  )
})
socket.on('data', read)
// The coordinator has gone.
socket.on('close', () => process.exit(0))
socket.on('error', () => process.exit(0))
