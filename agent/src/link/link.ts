import { messageOf } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { Random } from '@understudy/shared/core/random'
import type { Service } from '@understudy/shared/core/service'
import {
  between,
  type Clock,
  type Millis,
  type Mono,
  millis,
  plus,
  sleep,
} from '@understudy/shared/core/time'
import {
  type AgentMessage,
  type CertificateRequest,
  type CoordinatorMessage,
  coordinatorMessageSchema,
  type Degradation,
  type Heartbeat,
  type Hello,
  type Report,
} from '@understudy/shared/protocol/link'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import type { Logger } from 'pino'
import { WebSocket } from 'ws'
import { createOutbox } from './outbox.ts'

/** The first tries come quickly, later ones spare a coordinator that is down for longer. */
const BACKOFF: BackoffPolicy = { base: millis(100), cap: millis(5000) }
const CONNECT_TIMEOUT = millis(3000)
/** A connection on which nothing comes back for this long is dead, whatever TCP thinks. */
const SILENCE_LIMIT = millis(4000)
const MAX_MESSAGE = 1024 * 1024
/** How often it says how it is; what changes is said at once. */
const STATUS_EVERY = millis(500)

/** What the link asks the rest of the agent, and tells it. */
export interface LinkPeer {
  hello(): Pick<Hello, 'agentVersion' | 'instanceId' | 'boot' | 'role' | 'epoch' | 'replication' | 'voter'>
  heartbeat(): Omit<Heartbeat, 'type' | 'seq' | 'sentAt'>
  /** Everything but acknowledgements and refusals, in order of arrival. */
  onMessage(message: CoordinatorMessage): void
  /** Said hello and was answered; before any order of the new connection. */
  onConnected(): void
}

/** The one connection to the coordinator. It is kept up for ever; while it is down, reports wait. */
export interface Link extends Service {
  readonly connected: boolean
  readonly degraded: readonly Degradation[]
  /** Last measured time there and back; null before the first measurement. */
  readonly roundTrip: Millis | null
  report(report: Report): void
  /** False, and nothing is sent, while it is down. */
  request(request: CertificateRequest): boolean
  /** Says at once what the next heartbeat would say later. */
  beatSoon(): void
  useCredential(credential: string): void
  /** Resolves once every report has been acknowledged, the link is down, or the budget is spent. */
  untilSent(budget: Millis): Promise<void>
}

export function createLink(parts: {
  readonly url: string
  readonly credential: string
  readonly peer: LinkPeer
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}): Link {
  const { url, peer, clock, random, log } = parts
  const outbox = createOutbox()
  let { credential } = parts
  let socket: WebSocket | undefined
  let greeted = false
  let trouble: Degradation | undefined
  let seq = 0
  let beatQueued = false
  let roundTrip: Millis | null = null

  const send = (message: AgentMessage) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message))
  }
  const beat = () => {
    if (!greeted) return
    seq += 1
    send({ type: 'heartbeat', seq, sentAt: clock.mono(), ...peer.heartbeat() })
  }

  function onMessage(message: CoordinatorMessage): void {
    switch (message.type) {
      case 'welcome':
        greeted = true
        trouble = undefined
        log.info({ event: 'link.connected' })
        // Before anything that is reported because of the connection: what comes out of order counts as told already.
        for (const { id, body } of outbox.pending()) send({ type: 'report', id, body })
        peer.onMessage(message)
        peer.onConnected()
        beat()
        return
      case 'report-ack':
        return outbox.acknowledge(message.id)
      case 'refused':
        trouble = {
          code: message.code,
          message: message.message,
          ...(message.hint === undefined ? {} : { hint: message.hint }),
        }
        log.error({ event: 'link.refused', code: message.code, why: message.message, hint: message.hint })
        return
      default:
        return peer.onMessage(message)
    }
  }

  /** One connection from beginning to end; resolves with why it ended. */
  function connectOnce(signal: AbortSignal): Promise<string> {
    return new Promise((resolve) => {
      let heardAt: Mono = clock.mono()
      let pingedAt: Mono | undefined
      let cancelBeat: (() => void) | undefined
      const current = new WebSocket(url, {
        headers: { authorization: `Bearer ${credential}` },
        perMessageDeflate: false,
        handshakeTimeout: CONNECT_TIMEOUT,
        maxPayload: MAX_MESSAGE,
      })
      socket = current
      const end = (why: string) => {
        cancelBeat?.()
        signal.removeEventListener('abort', onAbort)
        current.terminate()
        if (socket === current) {
          socket = undefined
          greeted = false
        }
        resolve(why)
      }
      const onAbort = () => end('the agent is stopping')
      signal.addEventListener('abort', onAbort, { once: true })
      const isSilent = () => between(heardAt, clock.mono()) > SILENCE_LIMIT
      // We may have stood still ourselves: what has come meanwhile is read before anything is made of it.
      const look = () => (isSilent() ? void setImmediate(judge) : beatOn())
      const judge = () => {
        if (socket !== current) return
        if (isSilent()) return end('the coordinator has fallen silent')
        beatOn()
      }
      const beatOn = () => {
        beat()
        if (current.readyState === WebSocket.OPEN && pingedAt === undefined) {
          pingedAt = clock.mono()
          current.ping()
        }
        cancelBeat = clock.timer(STATUS_EVERY, look)
      }
      current.on('open', () => {
        seq += 1
        send({ type: 'hello', protocol: PROTOCOL_VERSION, seq, sentAt: clock.mono(), ...peer.hello() })
        cancelBeat = clock.timer(STATUS_EVERY, look)
      })
      current.on('pong', () => {
        heardAt = clock.mono()
        if (pingedAt !== undefined) roundTrip = between(pingedAt, heardAt)
        pingedAt = undefined
      })
      current.on('message', (data: Buffer) => {
        heardAt = clock.mono()
        const message = parse(data)
        if (message) onMessage(message)
        else log.warn({ event: 'link.unknown_message', text: data.toString('utf8').slice(0, 200) })
      })
      current.on('unexpected-response', (_, response) => {
        const { statusCode } = response
        trouble = refusal(statusCode ?? 0)
        response.resume()
        end(`the coordinator answers ${statusCode}`)
      })
      current.on('error', (error) => end(messageOf(error)))
      current.on('close', (code, reason) => end(reason.toString('utf8') || `closed (${code})`))
    })
  }

  return {
    name: 'link',
    get connected() {
      return greeted
    },
    get degraded() {
      const lost: Degradation[] =
        outbox.dropped > 0
          ? [
              {
                code: 'reports_dropped',
                message: `${outbox.dropped} reports were dropped while the coordinator was away`,
              },
            ]
          : []
      return trouble ? [trouble, ...lost] : lost
    },
    get roundTrip() {
      return roundTrip
    },
    report(report) {
      const entry = outbox.add(report)
      if (greeted) send({ type: 'report', ...entry })
    },
    request(request) {
      if (greeted) send(request)
      return greeted
    },
    beatSoon() {
      if (beatQueued) return
      beatQueued = true
      queueMicrotask(() => {
        beatQueued = false
        beat()
      })
    },
    useCredential(next) {
      credential = next
    },
    async untilSent(budget) {
      const end = plus(clock.mono(), budget)
      while (greeted && outbox.size > 0 && clock.mono() < end) await sleep(clock, millis(10))
    },
    async run(signal) {
      for (let attempt = 0; !signal.aborted; attempt += 1) {
        const started = clock.mono()
        const why = await connectOnce(signal)
        if (signal.aborted) return
        // A connection that held is a new beginning.
        if (between(started, clock.mono()) > 10_000) attempt = 0
        trouble ??= {
          code: 'coordinator_unreachable',
          message: `no connection to the coordinator: ${why}`.slice(0, 500),
        }
        log.warn({ event: 'link.lost', attempt, why })
        await sleep(clock, fullJitter(BACKOFF, attempt, random), signal).catch(() => undefined)
      }
    },
  }
}

function parse(data: Buffer): CoordinatorMessage | undefined {
  try {
    return coordinatorMessageSchema.safeParse(JSON.parse(data.toString('utf8'))).data
  } catch {
    return undefined
  }
}

const refusal = (status: number): Degradation =>
  status === 401 || status === 403
    ? {
        code: 'credential_refused',
        message: `the coordinator does not accept this instance's credential (${status})`,
        hint: 'Remove enrolment.json from the data directory and enrol again with a new join token.',
      }
    : {
        code: 'coordinator_unreachable',
        message: `the coordinator answers ${status} instead of a connection`,
      }
