import { once } from 'node:events'
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { Busboy, type BusboyFileStream } from '@fastify/busboy'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import type { ArtifactStore, Incoming } from './artifacts.ts'
import { modelLimits } from './onnx/allowed.ts'
import { assertMayBeOnnx } from './onnx/file-kind.ts'
import { modelRefused } from './refusal.ts'

const MANIFEST_BYTES = 2 * 1024 * 1024
/** Of a whole upload: two files, the manifest and what is between them. */
export const MOST_UPLOAD = 2 * modelLimits.fileBytes + 4 * 1024 * 1024

export interface UploadedFile {
  readonly file: Incoming
  readonly sha256: string
  readonly name: string
}

export interface Upload {
  readonly model: UploadedFile
  readonly scaler: UploadedFile | undefined
  readonly manifest: string | undefined
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly fileNames: readonly string[]
}

export interface UploadSource {
  readonly contentType: string
  readonly body: ReadableStream<Uint8Array> | null
  onProgress(received: number): void
}

/** An upload, and what is known of it before its first byte. */
export interface UploadRequest extends Omit<UploadSource, 'onProgress'> {
  readonly actor: string
  /** Chosen by the caller, who can then ask how far it is. */
  readonly sessionId: string | undefined
  readonly total: number | null
  readonly key: string | null
}

interface Parts {
  model: UploadedFile | undefined
  scaler: UploadedFile | undefined
  manifest: string | undefined
  readonly fields: (readonly [name: string, value: string])[]
  readonly fileNames: string[]
  readonly incoming: Incoming[]
}

/**
 * Takes a multipart body as it comes, files straight to the store: never more than a few buffers are in memory. What is no
 * model by its first bytes is refused at once. The caller drops the files that it does not keep.
 * @throws AppError `input_invalid`, `payload_too_large`, `model_refused` (PICKLE, ARCHIVE, …), `disk_full`; then nothing is kept
 */
export async function receiveUpload(source: UploadSource, artifacts: ArtifactStore): Promise<Upload> {
  if (!source.body) throw noFile()
  const parts: Parts = {
    model: undefined,
    scaler: undefined,
    manifest: undefined,
    fields: [],
    fileNames: [],
    incoming: [],
  }
  try {
    await readParts(source, source.body, artifacts, parts)
    if (!parts.model) throw noFile()
    return { ...parts, model: parts.model }
  } catch (error) {
    for (const file of parts.incoming) await file.drop()
    throw error
  }
}

const noFile = () =>
  new AppError('input_invalid', 'the upload has no model file', {
    hint: 'Send multipart/form-data: curl -F file=@model.onnx -F manifest=@manifest.json …',
  })

async function readParts(
  source: UploadSource,
  body: ReadableStream<Uint8Array>,
  artifacts: ArtifactStore,
  parts: Parts,
): Promise<void> {
  const parser = createParser(source.contentType)
  const input = Readable.fromWeb(body)
  const files: Promise<void>[] = []
  let failed = (_: unknown) => {}
  const failure = new Promise<never>((_, reject) => (failed = reject))
  failure.catch(() => undefined)
  let received = 0

  parser.on('field', (name, value, nameCut, valueCut) => {
    if (nameCut || valueCut) failed(new AppError('payload_too_large', `the field ${name} is too long`))
    else if (name === 'manifest') parts.manifest = value
    else parts.fields.push([name, value])
  })
  parser.on('file', (field, stream, name) => {
    stream.on('error', () => undefined)
    const taken = takeFile(field, name, stream, artifacts, parts)
    taken.catch(failed)
    files.push(taken)
  })
  for (const limit of ['partsLimit', 'filesLimit', 'fieldsLimit'] as const)
    parser.on(limit, () => failed(new AppError('input_invalid', 'the upload has too many parts')))
  const finished = once(parser, 'finish').catch((error: unknown) => {
    throw new AppError('input_invalid', `the multipart body cannot be read: ${messageOf(error)}`)
  })
  finished.catch(() => undefined)

  async function pump(): Promise<void> {
    for await (const chunk of input as AsyncIterable<Uint8Array>) {
      received += chunk.length
      source.onProgress(received)
      if (received > MOST_UPLOAD)
        throw new AppError('payload_too_large', `an upload may have ${MOST_UPLOAD / 1024 / 1024} MiB`)
      if (!parser.write(Buffer.from(chunk))) await Promise.race([once(parser, 'drain'), failure, finished])
    }
    parser.end()
    await finished
    await Promise.all(files)
  }
  try {
    await Promise.race([pump(), failure])
  } catch (error) {
    input.destroy()
    parser.destroy()
    await Promise.allSettled(files)
    throw error
  }
}

function createParser(contentType: string): ReturnType<typeof Busboy> {
  try {
    return Busboy({
      headers: { 'content-type': contentType },
      limits: {
        fieldNameSize: 100,
        fieldSize: MANIFEST_BYTES,
        fields: 20,
        files: 4,
        fileSize: modelLimits.fileBytes + 1,
        parts: 24,
        headerPairs: 20,
        headerSize: 8192,
      },
    })
  } catch (cause) {
    throw new AppError('input_invalid', `the upload must be multipart/form-data (${messageOf(cause)})`, {
      cause,
    })
  }
}

/** By the name of the field or of the file: the manifest, a scaler, else the model. */
function roleOf(field: string, name: string): 'manifest' | 'scaler' | 'model' {
  if (field === 'manifest' || /\.json$/i.test(name)) return 'manifest'
  return field === 'scaler' || /^scaler\b/i.test(name) ? 'scaler' : 'model'
}

async function takeFile(
  field: string,
  name: string,
  stream: BusboyFileStream,
  artifacts: ArtifactStore,
  parts: Parts,
): Promise<void> {
  const role = roleOf(field, name)
  const shown = (name || role).slice(0, 200)
  parts.fileNames.push(shown)
  if (role === 'manifest') {
    parts.manifest = await readText(stream)
    return
  }
  const file = await artifacts.receive()
  parts.incoming.push(file)
  let first = true
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (first) assertMayBeOnnx(chunk)
    first = false
    await file.write(chunk)
    if (file.bytes > modelLimits.fileBytes)
      throw modelRefused('TOO_LARGE', `${shown} has more than ${modelLimits.fileBytes / 1024 / 1024} MiB`)
  }
  if (first) throw modelRefused('NOT_ONNX', `${shown} is empty`)
  const sha256 = await file.finish()
  if (parts[role]) throw new AppError('input_invalid', `the upload has two files for the ${role}`)
  parts[role] = { file, sha256, name: shown }
}

async function readText(stream: BusboyFileStream): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MANIFEST_BYTES)
      throw new AppError('payload_too_large', `a manifest may have ${MANIFEST_BYTES / 1024 / 1024} MiB`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
