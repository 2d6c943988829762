import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { PassThrough, pipeline, type Transform } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'

export interface DataFile {
  /** In bytes, as it lies on the disk. */
  readonly size: number
  readonly compression: 'gzip' | 'zstd' | 'none'
  /** The content, decompressed, piece by piece. @throws Damaged where it ends too early or is broken */
  chunks(signal: AbortSignal): AsyncGenerator<Buffer>
  /** How much of `size` has been read. */
  read(): number
}

/** The rest of the file cannot be read; what came before is whole. */
export class Damaged extends Error {
  override readonly name = 'Damaged'
}

const compressions = [
  { name: 'gzip', magic: '1f8b', create: (): Transform => createGunzip() },
  { name: 'zstd', magic: '28b52ffd', create: (): Transform => createZstdDecompress() },
] as const

/** What it is follows from its first bytes, not from its name. @throws AppError `not_found`, `input_invalid` */
export async function openDataFile(path: string): Promise<DataFile> {
  const { head, size } = await readHead(path)
  if (head.startsWith('fd377a585a00') || head.startsWith('504b0304'))
    throw new AppError('input_invalid', `${path} is compressed in a way that is not read here`, {
      hint: 'Unpack it first. gzip, zstd and plain text are read.',
    })
  const packed = compressions.find(({ magic }) => head.startsWith(magic))
  let read = 0
  return {
    size,
    compression: packed?.name ?? 'none',
    read: () => read,
    async *chunks(signal) {
      const file = createReadStream(path, { signal, highWaterMark: 256 * 1024 })
      file.on('data', (chunk) => {
        read += chunk.length
      })
      const content = packed ? packed.create() : new PassThrough()
      // The loop below sees the same error.
      pipeline(file, content, () => undefined)
      try {
        for await (const chunk of content) yield chunk as Buffer
      } catch (cause) {
        signal.throwIfAborted()
        if (/^(Z_|ZSTD_|ERR_ZSTD)/.test(systemCodeOf(cause) ?? ''))
          throw new Damaged(`${packed?.name ?? ''}: ${messageOf(cause)}`, { cause })
        throw cause
      }
    },
  }
}

async function readHead(path: string): Promise<{ head: string; size: number }> {
  try {
    await using file = await open(path)
    const stat = await file.stat()
    if (!stat.isFile()) throw new AppError('input_invalid', `${path} is not a file`)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(6), 0, 6, 0)
    return { head: buffer.subarray(0, bytesRead).toString('hex'), size: stat.size }
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    const missing = systemCodeOf(cause) === 'ENOENT'
    throw new AppError(
      missing ? 'not_found' : 'input_invalid',
      missing ? `there is no file ${path}` : `${path} cannot be read (${messageOf(cause)})`,
      { cause },
    )
  }
}
