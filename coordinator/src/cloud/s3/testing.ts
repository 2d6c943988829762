import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A bucket over HTTP that answers as S3 does: path style, conditional writes, checksums, XML errors. */
export interface TestS3 {
  readonly endpoint: string
  /** By path, as `/bucket/prefix/key`. */
  readonly objects: Map<string, Buffer>
  readonly requests: string[]
  /** Answers the next requests in place of the bucket: a status and an error code. */
  readonly faults: { status: number; code: string }[]
  /** From now on: nothing is answered, or the header and the first byte alone. */
  stall: 'all' | 'body' | undefined
  close(): Promise<void>
}

export async function startTestS3(bucket: string): Promise<TestS3> {
  const objects = new Map<string, Buffer>()
  const requests: string[] = []
  const faults: TestS3['faults'] = []
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', 'http://s3')
    const key = decodeURIComponent(pathname)
    requests.push(`${request.method} ${key}`)
    const body: Buffer[] = []
    for await (const chunk of request) body.push(chunk as Buffer)
    const refuse = (status: number, code: string) => {
      const xml = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>no</Message></Error>`
      response.writeHead(status, { 'content-type': 'application/xml' }).end(xml)
    }
    if (self.stall === 'all') return
    const fault = faults.shift()
    if (fault) return refuse(fault.status, fault.code)
    if (!request.headers.authorization?.startsWith('AWS4-HMAC-SHA256 ')) return refuse(403, 'AccessDenied')
    if (!key.startsWith(`/${bucket}/`)) return refuse(404, 'NoSuchBucket')
    const there = objects.get(key)
    if (request.method === 'PUT') {
      const [status, code] = put(key, Buffer.concat(body), request.headers)
      return code === '' ? void response.writeHead(status, { etag: '"x"' }).end() : refuse(status, code)
    }
    if (request.method === 'DELETE') {
      objects.delete(key)
      return void response.writeHead(204).end()
    }
    if (!there) return refuse(404, 'NoSuchKey')
    send(there, response)
  }

  function send(there: Buffer, response: ServerResponse): void {
    response.writeHead(200, { 'content-length': String(there.length) })
    if (self.stall === 'body') response.write(there.subarray(0, 1))
    else response.end(there)
  }

  function put(key: string, content: Buffer, headers: IncomingHttpHeaders): [status: number, code: string] {
    const sum = createHash('sha256').update(content).digest('base64')
    if (headers['x-amz-checksum-sha256'] !== sum) return [400, 'BadDigest']
    if (objects.has(key) && headers['if-none-match'] === '*') return [412, 'PreconditionFailed']
    objects.set(key, content)
    return [200, '']
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const self: TestS3 = {
    endpoint: `http://127.0.0.1:${port}`,
    objects,
    requests,
    faults,
    stall: undefined,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return self
}
