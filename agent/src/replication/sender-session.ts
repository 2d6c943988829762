import { randomUUID } from 'node:crypto'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import { between, type Clock, type Mono, millis } from '@understudy/shared/core/time'
import { decodeManifest, FrameFlag, FrameType } from '@understudy/shared/protocol/replication'
import type { PrimaryMessage, ReplicaMessage } from '@understudy/shared/protocol/replication-messages'
import type { Logger } from 'pino'
import type { WebSocket } from 'ws'
import { type Batch, type BatchSource, batchesFor } from './batches.ts'
import type { BufferPool } from './buffer-pool.ts'
import { createCompressor } from './compression.ts'
import { checkFrame, knownCodecs, unpackBody } from './frames.ts'
import { createGate } from './gate.ts'
import { createOutgoingFlow } from './outgoing-flow.ts'
import type { Pace } from './pace.ts'
import { createSafeMoments } from './safe-moments.ts'
import type { Scanner } from './scanner.ts'
import type { Join, SenderSession, SessionLag } from './session-types.ts'
import type { StateRoots } from './state-files.ts'
import { addToTree, type Key, StateTree, splitKey, treeDigest } from './state-tree.ts'
import { countXattrs, differingBytes, totalBytes } from './tree-sizes.ts'
import { createVerification, type VerificationPace } from './verification.ts'

/** More than this is not held back to be applied as a whole. */
const GROUP_BYTES = 64 * 1024 * 1024
/** Close enough behind to take over: this much, or this long. */
const NEAR_BYTES = 1024 * 1024
const NEAR_MILLIS = millis(2000)
/** Names that a barrier may leave out. */
const EXCEPTED_NAMES = 1000

export interface SessionSurroundings {
  readonly instance: InstanceId
  readonly epoch: number
  readonly scanner: Pick<Scanner, 'tree' | 'distrust' | 'read' | 'learn'>
  readonly roots: StateRoots
  readonly clock: Clock
  readonly log: Logger
  readonly pace: Pace
  readonly pool: BufferPool
  readonly window: () => number
  /** A hand-over to another replica is under way: this one waits. */
  readonly isHeld: () => boolean
  readonly isUrgent: () => boolean
  /** Changes go over only as captured by a cut, once the replica has a first copy. */
  readonly cutsOnly: boolean
  readonly verify: VerificationPace
}

export function createSenderSession(surroundings: SessionSurroundings, join: Join): SenderSession {
  const { instance, epoch, scanner, roots, clock, log, pool, cutsOnly, isHeld } = surroundings
  const { tree } = scanner
  const stream = randomUUID()
  const theirs = new StateTree()
  const dirty = new Set<Key>()
  const gate = createGate()
  const ended = new AbortController()
  const codecs = knownCodecs.filter((codec) => join.codecs.includes(codec))
  let connected = false
  let dirtySince: Mono | undefined
  let manifestDone = false
  let pumping = false
  let preferred: ((key: Key) => boolean) | undefined
  /** Up to here the replica has been told that its copy is whole; undefined during a transfer that it is not. */
  let wholeAt: number | undefined
  /** Files that the replica reads again; nothing is sent until it has shown them. */
  let reread: Set<Key> | undefined
  /** Changes are sent as they are seen; else only what a cut has captured. */
  let streaming = !cutsOnly || !join.whole
  /** What streams is of no one moment although it should be: the copy is not whole before the next cut. */
  let mixing = cutsOnly && !join.whole
  let groups = 0
  const safe = createSafeMoments()
  const answers = new Map<number, boolean>()
  let barriers = 0
  /** What was asked and is not answered: it is asked again over the next connection. */
  let asked: PrimaryMessage | undefined
  /** Names of the group that is being sent. */
  let sending: readonly Key[] = []

  const flow = createOutgoingFlow({
    ...surroundings,
    gate,
    compressor: createCompressor(codecs, () => performance.now() / 1000),
    ended: ended.signal,
  })
  const source: BatchSource = {
    ours: tree,
    theirs,
    roots,
    xattrs: join.xattrs,
    onUnreadable: (key, why) => scanner.distrust(key, why),
    onRead: scanner.learn,
    clock,
  }
  const verification = createVerification({
    ours: tree,
    theirs,
    roots,
    clock,
    pace: surroundings.verify,
    quiet: (signal) => gate.until(() => connected && isWhole() && !pumping && !reread, signal),
    isDirty: (key) => dirty.has(key),
    seq: () => flow.seq,
    say: flow.say,
    onUnseen: (key) => scanner.distrust(key),
    onMismatch,
  })

  const isWhole = () => wholeAt !== undefined && flow.durable >= wholeAt

  const isSafe = (moment: Mono) => isWhole() && safe.since !== undefined && safe.since >= moment

  function fail(error: unknown): void {
    end(error instanceof AppError ? error : new AppError('internal', messageOf(error), { cause: error }))
  }

  function end(error: AppError): void {
    if (gate.failure) return
    gate.fail(error)
    ended.abort(error)
    socket?.close(1011, error.message.slice(0, 100))
  }
  let socket: WebSocket | undefined

  /** The replica reads from disk what it has, and is sent what differs. */
  function onMismatch(keys: readonly Key[]): void {
    log.error({ event: 'replication.mismatch', instance, names: keys.slice(0, 10), count: keys.length })
    reread = new Set(keys)
    // A file that turns out to be another has its names no more.
    for (const key of keys) for (const link of theirs.linksTo(key)) dirty.add(link)
    askToReread(keys)
  }

  const askToReread = (keys: Iterable<Key>) =>
    flow.say({
      type: 'reread',
      files: Array.from(keys, (key) => {
        const { root, path } = splitKey(key)
        return [root, path]
      }),
    })

  function pump(): void {
    if (pumping || !manifestDone || reread || gate.failure) return
    if (!streaming && !preferred) return
    pumping = true
    void pumpAll()
      .catch(fail)
      .finally(() => {
        pumping = false
        gate.wake()
        if (dirty.size > 0) pump()
        else preferred = undefined
      })
  }

  async function pumpAll(): Promise<void> {
    while (dirty.size > 0 && !reread && (streaming || preferred)) {
      await gate.until(() => !isHeld())
      const all = preferred === undefined
      const { bulk } = await sendGroup(takeNext())
      // A group that is put in place at once leaves a whole copy, even if more has changed meanwhile.
      if (!bulk && all) sayWhole()
    }
    if (dirty.size > 0) return
    safe.sent(flow)
    sayWhole()
  }

  function sayWhole(): void {
    if (wholeAt !== undefined || mixing) return
    wholeAt = flow.seq
    flow.say({ type: 'whole', seq: wholeAt })
  }

  function takeNext(): Key[] {
    if (preferred) {
      const keys = [...dirty].filter(preferred)
      preferred = undefined
      for (const key of keys) dirty.delete(key)
      return keys
    }
    const all = [...dirty]
    dirty.clear()
    return all
  }

  async function sendGroup(keys: readonly Key[]): Promise<{ bulk: boolean }> {
    const since = dirtySince ?? clock.mono()
    if (dirty.size === 0) dirtySince = undefined
    // A copy that is not whole is a mixture anyway: nothing has to be held back for it.
    groups += 1
    let bulk = mixing || (groups === 1 && !join.whole) || bytesIn(keys) > GROUP_BYTES
    let bytes = 0
    const send = async (batch: Batch, last: boolean) => {
      bytes += batch.body.length
      // Files may grow between the count and their turn: the rest goes in bulk.
      bulk ||= bytes > GROUP_BYTES
      await sendBatch(batch, since, bulk ? FrameFlag.bulk : last ? FrameFlag.last : 0)
    }
    let held: Batch | undefined
    sending = keys
    for (const batch of batchesFor(keys, source, pool)) {
      if (held) await send(held, false)
      held = batch
    }
    if (held) await send(held, true)
    sending = []
    return { bulk }
  }

  async function sendBatch(batch: Batch, since: Mono, flags: number): Promise<void> {
    if (flags & FrameFlag.bulk) wholeAt = undefined
    await flow.send(batch, since, flags)
  }

  const bytesIn = (keys: Iterable<Key>) => differingBytes(keys, tree, theirs)
  const pendingBytes = (which: (key: Key) => boolean = () => true) =>
    bytesIn(new Set([...sending, ...[...dirty].filter(which)]))

  function lag(): SessionLag {
    const oldest = flow.oldest ?? dirtySince
    const behind = oldest === undefined ? millis(0) : between(oldest, clock.mono())
    const bytes = manifestDone ? pendingBytes() + flow.bytesInFlight : totalBytes(tree)
    const near = cutsOnly || bytes <= NEAR_BYTES || behind <= NEAR_MILLIS
    return {
      attached: connected && isWhole() && !gate.failure && near,
      bytes,
      batches: flow.batchesInFlight,
      millis: behind,
      safeMillis: safe.since === undefined ? null : between(safe.since, clock.mono()),
      verified: { ...verification.verified },
      withoutXattrs: join.xattrs ? 0 : countXattrs(tree),
    }
  }

  async function begin(): Promise<void> {
    // What is to be compared has to be read; all else is read when it is sent.
    await scanner.read([...theirs.keys()].filter((key) => theirs.file(key)))
    manifestDone = true
    for (const key of tree.keys()) dirty.add(key)
    for (const key of theirs.keys()) dirty.add(key)
    dirtySince = clock.mono()
    flow.say({ type: 'total', bytes: pendingBytes(), files: dirty.size })
    pump()
    void verification.run(ended.signal).catch(() => undefined)
  }

  function onManifest(frame: Uint8Array): void {
    try {
      const header = checkFrame(frame)
      if ((manifestDone && !reread) || header.type !== FrameType.manifest || header.epoch !== epoch)
        throw new AppError('protocol', 'a manifest was not expected')
      for (const entry of decodeManifest(unpackBody(frame, header))) {
        reread?.delete(`${entry.root}/${entry.path}`)
        addToTree(theirs, entry)
        if (manifestDone) dirty.add(`${entry.root}/${entry.path}`)
      }
      if ((header.flags & FrameFlag.last) === 0) return
      if (manifestDone) return onReread()
      void begin().catch(fail)
    } catch (error) {
      fail(error)
    }
  }

  function onAck(message: ReplicaMessage & { type: 'ack' }): void {
    try {
      flow.onAck(message)
    } catch (error) {
      return fail(error)
    }
    safe.acked(flow)
    gate.wake()
  }

  /** What was asked for and not shown is not there. */
  function onReread(): void {
    for (const key of reread ?? []) {
      theirs.remove(key)
      dirty.add(key)
    }
    reread = undefined
    dirtySince ??= clock.mono()
    pump()
  }

  function attach(next: WebSocket, { resume }: Join): void {
    const resumed = resume !== null && resume.stream === stream && manifestDone
    socket = next
    connected = true
    next.send(JSON.stringify({ type: 'accepted', epoch, stream, resumed }))
    flow.attach(next, resumed ? resume.seq : 0)
    if (resumed && wholeAt !== undefined) flow.say({ type: 'whole', seq: wholeAt })
    if (resumed && reread) askToReread(reread)
    if (resumed && asked) flow.say(asked)
    gate.wake()
    pump()
  }

  return {
    instance,
    get lag() {
      return lag()
    },
    get bytesPerSecond() {
      return flow.bytesPerSecond
    },
    pendingBytes,
    looked(changed, completeSince) {
      for (const key of changed) dirty.add(key)
      if (changed.size > 0) dirtySince ??= clock.mono()
      if (completeSince !== undefined) safe.looked(completeSince)
      if (dirty.size === 0 && !pumping && manifestDone) safe.sent(flow)
      pump()
    },
    onManifest,
    onMessage(message) {
      switch (message.type) {
        case 'join':
          return
        case 'ack':
          return onAck(message)
        case 'nack':
          log.warn({ event: 'replication.refused', instance, seq: message.seq, code: message.code })
          return end(
            new AppError(message.code === 'disk_full' ? 'disk_full' : 'unavailable', message.message, {
              retryable: true,
            }),
          )
        case 'barrier-reached':
          answers.set(message.id, message.equal)
          return gate.wake()
        case 'verified':
          return verification.onAnswer(message.id, message.equal)
      }
    },
    attach,
    detach() {
      connected = false
      flow.detach()
    },
    sendAll(which) {
      preferred = which
      streaming = which === undefined
      // The workload stands still.
      mixing = false
      pump()
    },
    preferredSent: (signal) =>
      gate.until(() => preferred === undefined && !pumping && flow.batchesInFlight === 0, signal),
    withhold() {
      const before = streaming
      streaming = false
      return () => {
        streaming = before
        pump()
      }
    },
    get whole() {
      return isWhole()
    },
    release() {
      // Nothing but cuts again.
      if (cutsOnly && !mixing) streaming = false
      gate.wake()
    },
    get seq() {
      return flow.durable
    },
    get ended() {
      return gate.failure !== undefined
    },
    canResume: ({ resume }) =>
      gate.failure === undefined && manifestDone && resume?.stream === stream && flow.canResume(resume.seq),
    canCapture() {
      // What is under way is finished first, and nothing more is begun.
      const begun = manifestDone && (groups > 0 || join.whole)
      if (begun) streaming = false
      return begun && connected && !pumping && !reread && gate.failure === undefined
    },
    capture(limit) {
      const keys = [...dirty]
      const since = dirtySince ?? clock.mono()
      if (!this.canCapture())
        throw new AppError('not_ready', `${instance} still gets what came before`, { retryable: true })
      const bytes = bytesIn(keys)
      mixing = bytes > limit
      streaming = mixing
      if (mixing) pump()
      if (mixing)
        throw new AppError(
          'conflict',
          `${bytes} bytes have changed since the last cut, at most ${limit} fit`,
          {
            hint: 'Cut more often (workload.cut_every_seconds), or let the state stream without cuts.',
          },
        )
      const batches = [...batchesFor(keys, source, pool)]
      dirty.clear()
      dirtySince = undefined
      pumping = true
      const captured = safe.capture()
      const sendAll = async () => {
        for (const [index, batch] of batches.entries())
          await sendBatch(batch, since, index === batches.length - 1 ? FrameFlag.last : 0)
        captured(flow)
        sayWhole()
      }
      return () =>
        void sendAll()
          .catch(fail)
          .finally(() => {
            pumping = false
            gate.wake()
          })
    },
    near: (signal) =>
      // Between cuts nothing is sent: what has changed goes over with the seal.
      gate.until(() => isWhole() && (cutsOnly || pendingBytes() + flow.bytesInFlight <= NEAR_BYTES), signal),
    async settled(signal) {
      await gate.until(
        () => manifestDone && !reread && dirty.size === 0 && !pumping && flow.batchesInFlight === 0,
        signal,
      )
    },
    isSafe,
    safe: (moment, signal) => gate.until(() => isSafe(moment), signal),
    async barrier(except, signal) {
      if (except.length > EXCEPTED_NAMES)
        throw new AppError('state_unreadable', `${except.length} names of the state cannot be read`)
      barriers += 1
      const id = barriers
      const { xattrs } = join
      const digest = treeDigest(tree, { except: new Set(except), xattrs })
      asked = { type: 'barrier', id, seq: flow.seq, digest, except: [...except], xattrs }
      flow.say(asked)
      await gate
        .until(() => answers.has(id), signal)
        .finally(() => {
          asked = undefined
        })
      if (!answers.get(id))
        throw new AppError('conflict', `the tree on ${instance} differs although every batch arrived`, {
          hint: 'Something else writes into the state directories of the replica. It is compared again in full.',
          retryable: true,
        })
    },
    close: (why) => end(new AppError('unavailable', why, { retryable: true })),
  }
}
