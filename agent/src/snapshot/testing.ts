import { createHash, randomUUID } from 'node:crypto'
import { HttpResponse, http } from 'msw'

/** S3 as far as snapshots use it, in memory, behind msw. Refuses what S3 refuses: wrong checksums, short parts. */

const BUCKET = 'snapshots'
export const S3_ENDPOINT = 'http://s3.test'
const MIN_PART = 5 * 1024 * 1024

export interface SimulatedS3 {
  readonly objects: Map<string, { bytes: Buffer; modified: Date }>
  readonly uploads: Map<string, { key: string; parts: Map<number, Buffer>; initiated: Date }>
  /** Every request, as `METHOD key?query`. */
  readonly requests: string[]
  /** Answers instead of S3 when it returns something. */
  fault: ((request: Request, called: string) => Response | Promise<Response> | undefined) | undefined
  readonly handler: ReturnType<typeof http.all>
}

export function createSimulatedS3(): SimulatedS3 {
  const sim: SimulatedS3 = {
    objects: new Map(),
    uploads: new Map(),
    requests: [],
    fault: undefined,
    handler: http.all(`${S3_ENDPOINT}/*`, async ({ request }) => {
      const url = new URL(request.url)
      const [, bucket = '', ...rest] = url.pathname.split('/')
      const key = decodeURIComponent(rest.join('/'))
      const called = `${request.method} ${key}${[...url.searchParams.keys()]
        .filter((name) => name !== 'x-id')
        .map((name) => `?${name}`)
        .join('')}`
      sim.requests.push(called)
      const instead = await sim.fault?.(request, called)
      if (instead) return instead
      if (!request.headers.get('authorization')?.startsWith('AWS4-HMAC-SHA256 '))
        return refusal(403, 'AccessDenied')
      if (bucket !== BUCKET) return refusal(404, 'NoSuchBucket')
      const body = Buffer.from(await request.arrayBuffer())
      const sum = request.headers.get('x-amz-checksum-sha256')
      if (sum !== null && sum !== sha256(body)) return refusal(400, 'BadDigest')
      return answer(sim, request.method, key, url.searchParams, body, sum !== null)
    }),
  }
  return sim
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('base64')

export const refusal = (status: number, code: string): Response =>
  xml(`<Error><Code>${code}</Code><Message>${code}</Message></Error>`, status)

const xml = (content: string, status = 200): Response =>
  HttpResponse.text(`<?xml version="1.0" encoding="UTF-8"?>\n${content}`, {
    status,
    headers: { 'content-type': 'application/xml' },
  })

function answer(
  sim: SimulatedS3,
  method: string,
  key: string,
  query: URLSearchParams,
  body: Buffer,
  summed: boolean,
): Response {
  if (key === '') return answerBucket(sim, method, query, body)
  if (query.has('uploads') || query.has('uploadId'))
    return answerUpload(sim, method, key, query, body, summed)
  const object = sim.objects.get(key)
  switch (method) {
    case 'PUT':
      if (!summed) return refusal(400, 'MissingChecksum')
      sim.objects.set(key, { bytes: body, modified: new Date() })
      return new HttpResponse(null, { headers: { etag: '"1"' } })
    case 'GET':
      return object
        ? HttpResponse.arrayBuffer(new Uint8Array(object.bytes).buffer)
        : refusal(404, 'NoSuchKey')
    default:
      return refusal(405, 'MethodNotAllowed')
  }
}

function answerBucket(sim: SimulatedS3, method: string, query: URLSearchParams, body: Buffer): Response {
  if (method === 'POST' && query.has('delete')) {
    for (const [, key = ''] of body.toString().matchAll(/<Key>(.*?)<\/Key>/g)) sim.objects.delete(key)
    return xml('<DeleteResult></DeleteResult>')
  }
  const prefix = query.get('prefix') ?? ''
  if (query.has('uploads')) {
    const found = [...sim.uploads].filter(([, { key }]) => key.startsWith(prefix))
    return xml(
      `<ListMultipartUploadsResult>${found
        .map(
          ([id, { key, initiated }]) =>
            `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${initiated.toISOString()}</Initiated></Upload>`,
        )
        .join('')}<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>`,
    )
  }
  // Pages of two: what is listed must be read to the end.
  const keys = [...sim.objects.keys()].filter((key) => key.startsWith(prefix)).sort()
  const from = Number(query.get('continuation-token') ?? 0)
  const more = from + 2 < keys.length
  return xml(
    `<ListBucketResult><IsTruncated>${more}</IsTruncated>${more ? `<NextContinuationToken>${from + 2}</NextContinuationToken>` : ''}${keys
      .slice(from, from + 2)
      .map((key) => {
        const object = sim.objects.get(key)
        return `<Contents><Key>${key}</Key><Size>${object?.bytes.length}</Size><LastModified>${object?.modified.toISOString()}</LastModified></Contents>`
      })
      .join('')}</ListBucketResult>`,
  )
}

function answerUpload(
  sim: SimulatedS3,
  method: string,
  key: string,
  query: URLSearchParams,
  body: Buffer,
  summed: boolean,
): Response {
  if (method === 'POST' && query.has('uploads')) {
    const id = randomUUID()
    sim.uploads.set(id, { key, parts: new Map(), initiated: new Date() })
    return xml(`<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`)
  }
  const id = query.get('uploadId') ?? ''
  const upload = sim.uploads.get(id)
  if (!upload) return refusal(404, 'NoSuchUpload')
  switch (method) {
    case 'PUT':
      if (!summed) return refusal(400, 'MissingChecksum')
      upload.parts.set(Number(query.get('partNumber')), body)
      return new HttpResponse(null, {
        headers: { etag: `"${query.get('partNumber')}"`, 'x-amz-checksum-sha256': sha256(body) },
      })
    case 'DELETE':
      sim.uploads.delete(id)
      return new HttpResponse(null, { status: 204 })
    default: {
      const parts = [...upload.parts].sort(([a], [b]) => a - b).map(([, part]) => part)
      if (parts.slice(0, -1).some((part) => part.length < MIN_PART)) return refusal(400, 'EntityTooSmall')
      sim.objects.set(key, { bytes: Buffer.concat(parts), modified: new Date() })
      sim.uploads.delete(id)
      return xml('<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>')
    }
  }
}
