import { randomUUID } from 'node:crypto'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { between, type Mono, millis } from '@understudy/shared/core/time'
import { decodeManifest, FrameFlag, FrameType } from '@understudy/shared/protocol/replication'
import type { ReplicaMessage } from '@understudy/shared/protocol/replication-messages'
import type { WebSocket } from 'ws'
import { createBarriers } from './barriers.ts'
import { type Batch, type BatchSource, batchesFor, batchesInTurn } from './batches.ts'
import { createCompressor } from './compression.ts'
import { checkFrame, knownCodecs, unpackBody } from './frames.ts'
import { createGate } from './gate.ts'
import { createOutgoingFlow } from './outgoing-flow.ts'
import { createRereading } from './rereading.ts'
import { createSafeMoments } from './safe-moments.ts'
import type { Join, SenderSession, SessionLag, SessionSurroundings } from './session-types.ts'
import { addToTree, type Key, keyOf, StateTree } from './state-tree.ts'
import { countXattrs, differingBytes, differsByMoreThan, totalBytes } from './tree-sizes.ts'
import { createVerification } from './verification.ts'

/** More than this is not held back to be applied as a whole. */
const GROUP_BYTES = 64 * 1024 * 1024
/** Close enough behind to take over: this much, or this long. */
const NEAR_BYTES = 1024 * 1024
const NEAR_MILLIS = millis(2000)

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
  /** Changes are sent as they are seen; else only what a cut has captured. */
  let streaming = !cutsOnly || !join.whole
  /** What streams is of no one moment although it should be: the copy is not whole before the next cut. */
  let mixing = cutsOnly && !join.whole
  let groups = 0
  const safe = createSafeMoments()
  /** Names of the group that is being sent. */
  let sending: readonly Key[] = []

  const flow = createOutgoingFlow({
    ...surroundings,
    gate,
    compressor: createCompressor(codecs, () => performance.now() / 1000),
    ended: ended.signal,
  })
  const reread = createRereading(theirs, dirty, flow.say)
  const barriers = createBarriers({ instance, tree, xattrs: join.xattrs, gate, flow })
  const source: BatchSource = {
    ours: tree,
    theirs,
    roots,
    xattrs: join.xattrs,
    onUnreadable(key, why) {
      safe.missed()
      scanner.distrust(key, why)
    },
    onRead: scanner.learn,
    clock,
  }
  const verification = createVerification({
    ours: tree,
    theirs,
    roots,
    clock,
    pace: surroundings.verify,
    quiet: (signal) => gate.until(() => connected && isWhole() && !pumping && !reread.active, signal),
    isDirty: (key) => dirty.has(key),
    seq: () => flow.seq,
    say: flow.say,
    onUnseen: scanner.suspect,
    onMismatch,
  })

  const isWhole = () => wholeAt !== undefined && flow.durable >= wholeAt
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
    reread.begin(keys)
  }

  function pump(): void {
    if (pumping || !manifestDone || gate.failure || !maySend()) return
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

  const isSettled = () =>
    manifestDone && !reread.active && dirty.size === 0 && !pumping && flow.batchesInFlight === 0
  const maySend = () => !reread.active && (streaming || preferred !== undefined)

  async function pumpAll(): Promise<void> {
    while (dirty.size > 0 && maySend()) {
      await gate.until(() => !isHeld())
      // While it was another's turn it may have been told to wait.
      if (!maySend()) break
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
    // A replica that takes over soon keeps the whole copy that it has: what comes too late is dropped as a whole.
    const atomic = surroundings.isUrgent() && isWhole()
    let bulk = !atomic && (mixing || (groups === 1 && !join.whole) || exceeds(keys, GROUP_BYTES))
    let bytes = 0
    const send = async (batch: Batch, last: boolean) => {
      bytes += batch.body.length
      // Files may grow between the count and their turn: the rest goes in bulk.
      bulk ||= !atomic && bytes > GROUP_BYTES
      await sendBatch(batch, since, bulk ? FrameFlag.bulk : last ? FrameFlag.last : 0)
    }
    let held: Batch | undefined
    sending = keys
    for await (const batch of batchesInTurn(keys, source, pool)) {
      if (held) await send(held, false)
      held = batch
    }
    if (held) await send(held, true)
    sending = []
    return { bulk }
  }

  /** What is made counts as sent: half of it is of no use to anybody. */
  function allBatches(keys: readonly Key[]): Batch[] {
    try {
      return [...batchesFor(keys, source, pool)]
    } catch (error) {
      fail(error)
      throw error
    }
  }

  async function sendBatch(batch: Batch, since: Mono, flags: number): Promise<void> {
    if (flags & FrameFlag.bulk) wholeAt = undefined
    await gate.until(() => !isHeld())
    await flow.send(batch, since, flags)
  }

  const exceeds = (keys: Iterable<Key>, limit: number) => differsByMoreThan(limit, keys, tree, theirs)
  const pendingBytes = (which: (key: Key) => boolean = () => true) =>
    differingBytes(new Set([...sending, ...[...dirty].filter(which)]), tree, theirs)

  function lag(): SessionLag {
    const oldest = flow.oldest ?? dirtySince
    const behind = oldest === undefined ? millis(0) : between(oldest, clock.mono())
    const bytes = manifestDone ? pendingBytes() + flow.bytesInFlight : totalBytes(tree)
    const known = safe.since === undefined ? undefined : scanner.knownUntil(safe.since)
    const near = cutsOnly || bytes <= NEAR_BYTES || behind <= NEAR_MILLIS
    return {
      attached: connected && isWhole() && !gate.failure && near,
      bytes,
      batches: flow.batchesInFlight,
      millis: behind,
      safeMillis: known === undefined ? null : between(known, clock.mono()),
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
      if ((manifestDone && !reread.active) || header.type !== FrameType.manifest || header.epoch !== epoch)
        throw new AppError('protocol', 'a manifest was not expected')
      for (const entry of decodeManifest(unpackBody(frame, header))) {
        addToTree(theirs, entry)
        if (manifestDone) reread.shown(keyOf(entry.root, entry.path))
      }
      if ((header.flags & FrameFlag.last) === 0) return
      if (!manifestDone) return void begin().catch(fail)
      reread.end()
      dirtySince ??= clock.mono()
      pump()
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

  function attach(next: WebSocket, { resume }: Join): void {
    const resumed = resume !== null && resume.stream === stream && manifestDone
    socket = next
    connected = true
    next.send(JSON.stringify({ type: 'accepted', epoch, stream, resumed }))
    flow.attach(next, resumed ? resume.seq : 0)
    if (resumed && wholeAt !== undefined) flow.say({ type: 'whole', seq: wholeAt })
    if (resumed) {
      reread.askAgain()
      barriers.askAgain()
    }
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
          return barriers.onAnswer(message.id, message.equal)
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
    wake: gate.wake,
    release() {
      // Everything streams again, or nothing but cuts.
      streaming = !cutsOnly || mixing
      gate.wake()
      pump()
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
      return begun && connected && !pumping && !reread.active && gate.failure === undefined
    },
    capture(limit) {
      const keys = [...dirty]
      const since = dirtySince ?? clock.mono()
      if (!this.canCapture())
        throw new AppError('not_ready', `${instance} still gets what came before`, { retryable: true })
      mixing = exceeds(keys, limit)
      streaming = mixing
      if (mixing) pump()
      if (mixing)
        throw new AppError(
          'conflict',
          `more than ${limit} bytes have changed since the last cut, which is what fits`,
          {
            hint: 'Cut more often (workload.cut_every_seconds), or let the state stream without cuts.',
          },
        )
      const batches = allBatches(keys)
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
    settled: (signal) => gate.until(isSettled, signal),
    safe: (moment, signal) => gate.until(() => isWhole() && (safe.since ?? -1) >= moment, signal),
    barrier: barriers.ask,
    close: (why) => end(new AppError('unavailable', why, { retryable: true })),
  }
}
