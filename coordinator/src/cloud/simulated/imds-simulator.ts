import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Clock, type Instant, type Millis, type Mono, plus } from '@understudy/shared/core/time'

/**
 * The instance metadata service of one simulated instance, on the real wire: session tokens, text bodies, a closed
 * connection after every answer. It can be told to fail in every way that the real one has been seen to.
 */
export interface ImdsSimulator {
  readonly endpoint: string
  /** What stands at `/latest/<path>`; undefined makes it 404. */
  set(path: string, body: string | undefined): void
  /** A notice, with the time that EC2 would name. */
  announceInterruption(action: 'terminate' | 'stop' | 'hibernate', time: Instant): void
  withdrawInterruption(): void
  recommendRebalance(emitted: Instant): void
  /** Fails from now on, until `times` answers have failed or `clearFaults` is called. */
  fail(fault: ImdsFault): void
  clearFaults(): void
  /** Makes every token that was given out unknown, as after a restore. */
  forgetTokens(): void
  /** Requests so far, newest last; for tests. */
  readonly requests: readonly { method: string; path: string; status: number }[]
  close(): Promise<void>
}

export interface ImdsFault {
  readonly kind:
    | 'status'
    /** Takes the request and never answers. */
    | 'hang'
    /** Answers after `delay`. */
    | 'slow'
    /** Has no tokens at all and answers without one. */
    | 'v1-only'
    /** Labels its answers as something else. */
    | 'content-type'
    /** Closes the connection in the middle of the answer. */
    | 'cut'
  readonly status?: number
  readonly delay?: Millis
  /** Only paths that contain this; all of them otherwise. */
  readonly path?: string
  readonly times?: number
}

const MAX_TTL = 21_600
const TOKEN_PATH = '/latest/api/token'
const INTERRUPTION = 'meta-data/spot/instance-action'
const REBALANCE = 'meta-data/events/recommendations/rebalance'

/** AWS writes whole seconds. */
const seconds = (time: Instant): string => new Date(time).toISOString().replace(/\.\d+Z$/, 'Z')

export async function startImdsSimulator(options: {
  readonly clock: Clock
  readonly host?: string
  readonly port?: number
  /** A function is asked at every read. */
  readonly items: Readonly<Record<string, string | (() => string)>>
}): Promise<ImdsSimulator> {
  const { clock, host = '127.0.0.1', port = 0 } = options
  const items = new Map(Object.entries(options.items))
  const tokens = new Map<string, Mono>()
  const requests: { method: string; path: string; status: number }[] = []
  let faults: { fault: ImdsFault; left: number }[] = []
  const started = clock.now()

  function takeFault(path: string): ImdsFault | undefined {
    const entry = faults.find(({ fault }) => path.includes(fault.path ?? ''))
    if (!entry) return undefined
    entry.left -= 1
    if (entry.left <= 0) faults = faults.filter((other) => other !== entry)
    return entry.fault
  }

  function answer(
    response: ServerResponse,
    status: number,
    body: string,
    headers: Record<string, string> = {},
  ): number {
    const error = status >= 400
    response.writeHead(status, {
      server: 'EC2ws',
      connection: 'close',
      'content-type': error ? 'text/html' : 'text/plain',
      'last-modified': new Date(started).toUTCString(),
      'accept-ranges': 'none',
      ...headers,
    })
    response.end(body)
    return status
  }

  const refuse = (response: ServerResponse, status: number, headers: Record<string, string> = {}): number =>
    answer(response, status, errorPage(status), headers)

  function giveToken(request: IncomingMessage, response: ServerResponse): number {
    if (request.method !== 'PUT') return refuse(response, 405, { allow: 'OPTIONS, PUT' })
    if (request.headers['x-forwarded-for'] !== undefined) return refuse(response, 403)
    const ttl = Number(request.headers['x-aws-ec2-metadata-token-ttl-seconds'])
    if (!Number.isInteger(ttl) || ttl < 1 || ttl > MAX_TTL) return refuse(response, 400)
    const token = `${randomBytes(40).toString('base64url')}==`
    tokens.set(token, plus(clock.mono(), (ttl * 1000) as Millis))
    return answer(response, 200, token, { 'x-aws-ec2-metadata-token-ttl-seconds': String(ttl) })
  }

  function serve(request: IncomingMessage, response: ServerResponse, v1: boolean, type?: string): number {
    const { pathname } = new URL(request.url ?? '/', 'http://imds')
    if (pathname === TOKEN_PATH) return v1 ? refuse(response, 405) : giveToken(request, response)
    if (pathname.endsWith('/api/token')) return refuse(response, 403)
    if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(response, 405)
    if (v1) return giveItem(pathname, response, {})
    const left = secondsLeft(request.headers['x-aws-ec2-metadata-token'])
    if (left === undefined) return refuse(response, 401)
    return giveItem(pathname, response, {
      'x-aws-ec2-metadata-token-ttl-seconds': String(left),
      ...(type ? { 'content-type': type } : {}),
    })
  }

  function giveItem(pathname: string, response: ServerResponse, headers: Record<string, string>): number {
    const item = items.get(pathname.replace(/^\/latest\//, '').replace(/\/$/, ''))
    if (item === undefined) return refuse(response, 404)
    return answer(response, 200, typeof item === 'string' ? item : item(), headers)
  }

  function secondsLeft(header: string | string[] | undefined): number | undefined {
    // Two header lines arrive joined by a comma: not a token.
    const until = typeof header === 'string' ? tokens.get(header) : undefined
    if (until === undefined || until <= clock.mono()) return undefined
    return Math.ceil((until - clock.mono()) / 1000)
  }

  function handle(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? '/'
    const fault = takeFault(path)
    const done = (code: number) => {
      requests.push({ method: request.method ?? '', path, status: code })
    }
    switch (fault?.kind) {
      case 'hang':
        return done(0)
      case 'status':
        refuse(response, fault.status ?? 503)
        return done(fault.status ?? 503)
      case 'slow':
        clock.timer(fault.delay ?? (1000 as Millis), () => done(serve(request, response, false)))
        return undefined
      case 'cut':
        response.writeHead(200, { 'content-length': '1000' })
        response.write('{"action"')
        setImmediate(() => request.socket.destroy())
        return done(200)
      case 'v1-only':
        return done(serve(request, response, true))
      case 'content-type':
        return done(serve(request, response, false, 'application/octet-stream'))
      case undefined:
        return done(serve(request, response, false))
    }
  }

  const server: Server = createServer(handle)
  server.keepAliveTimeout = 1
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  const { port: bound } = server.address() as AddressInfo

  return {
    endpoint: `http://${host}:${bound}`,
    set(path, body) {
      if (body === undefined) items.delete(path)
      else items.set(path, body)
    },
    announceInterruption: (action, time) =>
      void items.set(INTERRUPTION, JSON.stringify({ action, time: seconds(time) })),
    withdrawInterruption: () => void items.delete(INTERRUPTION),
    recommendRebalance: (emitted) =>
      void items.set(REBALANCE, JSON.stringify({ noticeTime: seconds(emitted) })),
    fail: (fault) => void faults.push({ fault, left: fault.times ?? Number.POSITIVE_INFINITY }),
    clearFaults: () => {
      faults = []
    },
    forgetTokens: () => tokens.clear(),
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

const errorPage = (code: number): string =>
  `<?xml version="1.0" encoding="iso-8859-1"?>\n<html><head><title>${code}</title></head><body><h1>${code}</h1></body></html>\n`
