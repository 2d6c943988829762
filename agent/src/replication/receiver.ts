import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { InstanceId } from '@understudy/shared/core/ids'
import type { Random } from '@understudy/shared/core/random'
import { type Clock, type Millis, millis, sleep } from '@understudy/shared/core/time'
import type { Upstream } from '@understudy/shared/protocol/link'
import { HEADER_BYTES, MAX_BODY_BYTES } from '@understudy/shared/protocol/replication'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import type { Logger } from 'pino'
import { WebSocket } from 'ws'
import { asPeerError, type Credentials, clientTls, type PeerIdentity } from '../identity/identity.ts'
import { knownCodecs } from './frames.ts'
import { KEEP_ALIVE_AFTER } from './listener.ts'
import { createReceiverSession, type Resumable, type SyncProgress } from './receiver-session.ts'
import type { ReceiverStore } from './receiver-store.ts'
import { createScanner } from './scanner.ts'
import type { StateRoots } from './state-files.ts'
import type { StateTree } from './state-tree.ts'
import type { Xattrs } from './xattrs.ts'

const BACKOFF: BackoffPolicy = { base: millis(100), cap: millis(5000) }
const CONNECT_TIMEOUT = millis(5000)

/** The replica's end: keeps one connection to the primary open and puts what comes over it on disk. */
export interface Receiver {
  readonly progress: SyncProgress | null
  /** Why nothing comes in at the moment; undefined while it does. */
  readonly trouble: AppError | undefined
  follow(epoch: number, self: InstanceId, upstream: StreamSource): void
  /**
   * Ends the connection and puts everything whole in place; or moves what is there aside. What `refill` leaves is whole.
   * @throws AppError `state_unreadable` when only a part of a copy is there, is not to be moved aside, and nothing refills it
   */
  finish(discard: boolean, refill?: () => Promise<void>): Promise<void>
  stop(): Promise<void>
}

/** Where the state comes from, and what opens it. */
export type StreamSource = Omit<Upstream, 'voterPort'>

export interface ReceiverSurroundings {
  readonly identity: PeerIdentity
  readonly roots: StateRoots
  readonly store: ReceiverStore
  readonly xattrs: Xattrs
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Called when the copy becomes whole or stops being so. */
  readonly onCopy: () => void
}

export function createReceiver(surroundings: ReceiverSurroundings): Receiver {
  const { identity, store, clock, random, log } = surroundings
  let stopping: AbortController | undefined
  let running: Promise<void> = Promise.resolve()
  let progress: SyncProgress | null = null
  let trouble: AppError | undefined
  let following: Following | undefined

  let told = store.whole
  const tellCopy = () => {
    if (store.whole === told) return
    told = store.whole
    surroundings.onCopy()
  }

  /** The stream that may go on, as long as nothing but us has written here; the disk is read again without. */
  let resume: Resumable | undefined
  let known = false

  async function readDisk(): Promise<StateTree> {
    const { roots, xattrs } = surroundings
    const scanner = createScanner({ roots, clock, xattrs, onLook: () => undefined })
    await scanner.full()
    return scanner.tree
  }

  async function receive(epoch: number, self: InstanceId, upstream: StreamSource, signal: AbortSignal) {
    if (!resume) await store.dropPartial()
    await store.begin()
    tellCopy()
    if (!known) store.adopt(await readDisk())
    const connection = { ...surroundings, onCopy: tellCopy, epoch, self, upstream, signal, resume }
    known = false
    resume = undefined
    const ended = await receiveOnce(connection, (next) => {
      progress = next
      trouble = undefined
      if (following && !signal.aborted) following.up = true
    }).finally(tellCopy)
    known = true
    resume = ended.resumable
    throw ended.why
  }

  async function loop(target: Following, self: InstanceId, signal: AbortSignal): Promise<void> {
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      const before = progress
      try {
        await receive(target.epoch, self, target.upstream, signal)
      } catch (error) {
        if (signal.aborted) break
        // However far it comes each time: what is on a full disk is not read over and over.
        if (progress !== before && !isAppError(error, 'disk_full')) attempt = 0
        if (isAppError(error)) trouble = error
        log.info({
          event: 'replication.disconnected',
          primary: target.upstream.instanceId,
          attempt,
          why: messageOf(error),
        })
      } finally {
        target.up = false
      }
      await pause(fullJitter(BACKOFF, attempt, random), signal)
    }
  }

  /** A new certificate ends it: the connection may have been waiting for nothing else. */
  async function pause(delay: Millis, signal: AbortSignal): Promise<void> {
    const renewed = new AbortController()
    const forget = identity.onRenewal(() => renewed.abort())
    await sleep(clock, delay, AbortSignal.any([signal, renewed.signal])).catch(() => undefined)
    forget()
  }

  const stop = async () => {
    stopping?.abort()
    stopping = undefined
    following = undefined
    await running
  }

  return {
    get progress() {
      return progress
    },
    get trouble() {
      return trouble
    },
    follow(epoch, self, upstream) {
      // A coordinator that has come back says what is so already: only the next connection needs the new token.
      if (following?.up && following.epoch === epoch && isSameEndpoint(following.upstream, upstream)) {
        following.upstream = upstream
        return
      }
      stopping?.abort()
      // As long as it was never told to stop, nobody else has written here.
      const onlyUs = following !== undefined
      const mine = new AbortController()
      stopping = mine
      const target: Following = { epoch, upstream, up: false }
      following = target
      running = running.then(() => {
        // Since it last followed anybody, anything may have been written here.
        if (!onlyUs) known = false
        if (!onlyUs) resume = undefined
        return mine.signal.aborted ? undefined : loop(target, self, mine.signal)
      })
    },
    async finish(discard, refill) {
      await stop()
      if (discard) {
        await store.discard(new Date(clock.now()).toISOString().replaceAll(':', '-'))
        await refill?.()
      } else {
        await store.dropPartial()
        await (refill ? refill() : store.assertComplete())
      }
      await store.markWhole()
    },
    stop,
  }
}

/** Whom this replica follows, and whether something has come over the present connection. */
interface Following {
  readonly epoch: number
  upstream: StreamSource
  up: boolean
}

const isSameEndpoint = (a: StreamSource, b: StreamSource): boolean =>
  a.instanceId === b.instanceId && a.host === b.host && a.port === b.port

interface Connection extends ReceiverSurroundings {
  readonly epoch: number
  readonly self: InstanceId
  readonly upstream: StreamSource
  readonly signal: AbortSignal
  readonly resume: Resumable | undefined
}

interface Ended {
  /** Why the network ended it. */
  readonly why: Error
  readonly resumable: Resumable | undefined
}

/**
 * One connection from beginning to end, which the network brings. Throws what went wrong here, after which the disk
 * has to be read again.
 */
async function receiveOnce(
  connection: Connection,
  onProgress: (progress: SyncProgress) => void,
): Promise<Ended> {
  const { identity, roots, store, xattrs, clock, signal, epoch, self, upstream, onCopy, resume } = connection
  const { agent } = identity.self
  // It may have been told to stop while it read its disk.
  signal.throwIfAborted()
  const socket = new WebSocket(`wss://${hostOf(upstream.host)}:${upstream.port}/replication`, {
    ...clientTls(credentialsOf(identity), { agent, instance: upstream.instanceId }),
    headers: { authorization: `Bearer ${upstream.token}`, 'x-understudy-instance': self },
    perMessageDeflate: false,
    handshakeTimeout: CONNECT_TIMEOUT,
    maxPayload: MAX_BODY_BYTES + HEADER_BYTES,
  })
  const abort = () => socket.terminate()
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await new Promise<Ended>((resolve, reject) => {
      let lost: Error | undefined
      let failure: unknown
      const fail = (error: unknown) => {
        failure ??= error
        socket.terminate()
      }
      const session = createReceiverSession({
        store,
        roots,
        clock,
        epoch,
        socket,
        resume,
        onCopy,
        onProgress,
        end: (why) => resolve({ why, resumable: undefined }),
        reject: fail,
      })
      socket.on('open', () =>
        session.say({
          type: 'join',
          protocol: PROTOCOL_VERSION,
          epoch,
          instanceId: self,
          roots: roots.directories.length,
          codecs: [...knownCodecs],
          whole: store.whole,
          xattrs: xattrs.available,
          resume: resume && store.canGoOn ? { stream: resume.stream, seq: store.taken } : null,
        }),
      )
      socket.on('upgrade', (response) => response.socket.setKeepAlive(true, KEEP_ALIVE_AFTER))
      socket.on('message', (data: Buffer, binary) => session.receive(data, binary))
      socket.on('error', (error) => {
        lost = asPeerError(error)
      })
      // Always comes, and last. Nothing of this connection may reach the store once the next one begins.
      socket.on('close', (code, reason) => {
        const why = lost ?? new Error(`the primary closed the stream (${code} ${reason.toString('utf8')})`)
        void session
          .idle()
          .then(() =>
            failure === undefined ? resolve({ why, resumable: session.resumable }) : reject(failure),
          )
      })
    })
  } finally {
    signal.removeEventListener('abort', abort)
    socket.terminate()
  }
}

/** @throws AppError `unavailable` while there is no certificate to show */
function credentialsOf({ self, current }: PeerIdentity): Credentials {
  if (current) return current
  throw new AppError('unavailable', `${self.instance} has no valid certificate to show to the primary`, {
    hint: 'It comes over the link to the coordinator: see whether this instance is connected, and its clock right.',
    retryable: true,
  })
}

const hostOf = (host: string): string => (host.includes(':') ? `[${host}]` : host)
