import { AppError, messageOf } from '@understudy/shared/core/app-error'

export interface Download {
  readonly text: string
  readonly etag: string | null
  /** UTC milliseconds of the Last-Modified header. */
  readonly modified: number | null
}

export interface DownloadOptions {
  readonly fetch: typeof globalThis.fetch
  /** Of the copy that is here. */
  readonly etag: string | null
  /** Decompressed, in bytes. */
  readonly most: number
}

/**
 * A file by HTTP, unless it is still the one with that ETag: then undefined.
 * @throws AppError `unavailable`; `payload_too_large` as soon as there is too much of it
 */
export async function download(
  url: string,
  { fetch, etag, most }: DownloadOptions,
  signal: AbortSignal,
): Promise<Download | undefined> {
  try {
    const response = await fetch(url, {
      signal,
      headers: { accept: 'application/json', ...(etag === null ? {} : { 'if-none-match': etag }) },
    })
    if (response.status === 304) return undefined
    if (!response.ok) throw unavailable(url, `the answer was ${response.status}`)
    const modified = Date.parse(response.headers.get('last-modified') ?? '')
    return {
      text: await readText(response, most),
      etag: response.headers.get('etag'),
      modified: Number.isNaN(modified) ? null : modified,
    }
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    throw unavailable(url, messageOf(cause), cause)
  }
}

async function readText(response: Response, most: number): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > most)
      throw new AppError('payload_too_large', `the file is larger than ${Math.round(most / 1e6)} MB`, {
        hint: 'The last good file stays in use. Check that the address is right.',
      })
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}

const unavailable = (url: string, why: string, cause?: unknown): AppError =>
  new AppError('unavailable', `${url} could not be fetched: ${why}`, {
    retryable: true,
    hint: 'The last good file stays in use.',
    cause,
  })
