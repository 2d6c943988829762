import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { minutes, systemClock } from '@understudy/shared/core/time'
import {
  encodeManifest,
  encodeOps,
  FrameFlag,
  FrameType,
  type Op,
} from '@understudy/shared/protocol/replication'
import type { PrimaryMessage, ReplicaMessage } from '@understudy/shared/protocol/replication-messages'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import type { WebSocket } from 'ws'
import { createBufferPool } from './buffer-pool.ts'
import { checkFrame, packFrame } from './frames.ts'
import { createPace } from './pace.ts'
import { createReceiverSession, type Resumable } from './receiver-session.ts'
import { openReceiverStore } from './receiver-store.ts'
import { createScanner } from './scanner.ts'
import { createSenderSession } from './sender-session.ts'
import type { Join } from './session-types.ts'
import { createStateRoots } from './state-files.ts'
import { noXattrs, REPLICA, scratch, until, zstdOnly } from './testing.ts'

/** Frames and messages that come twice, too early, too late, or of another stream: below TLS, where one could forge. */

const log = pino({ level: 'silent' })
const STREAM = '9b2d7a0e-6d0c-4a53-9d43-6d4f3a3e1c11'
const OTHER_STREAM = '0c2d7a0e-6d0c-4a53-9d43-6d4f3a3e1c22'
const meta = { mode: 0o644, uid: 0, gid: 0, mtimeMicros: 0, xattrs: '' }

/** A socket that keeps what is sent. */
function fakeSocket() {
  const sent: Buffer[] = []
  const said: Record<string, unknown>[] = []
  const state = { paused: false, closed: false }
  const socket = {
    bufferedAmount: 0,
    readyState: 1,
    OPEN: 1,
    get isPaused() {
      return state.paused
    },
    pause: () => {
      state.paused = true
    },
    resume: () => {
      state.paused = false
    },
    close: () => {
      state.closed = true
    },
    send(data: Buffer | string) {
      if (typeof data === 'string') said.push(JSON.parse(data))
      else sent.push(Buffer.from(data))
    },
  }
  return { socket: socket as unknown as WebSocket, sent, said, state }
}

const writing = (path: string, text: string): Op[] => [
  { kind: 'file', root: 0, path, meta, size: text.length, fresh: false },
  { kind: 'write', root: 0, path, offset: 0, bytes: Buffer.from(text) },
]

const batch = (seq: number, ops: readonly Op[], { epoch = 3, flags = FrameFlag.last as number } = {}) =>
  packFrame({ type: FrameType.batch, epoch, seq, flags, body: encodeOps(ops) }, zstdOnly)

async function replica() {
  const base = scratch()
  const state = join(base, 'state')
  mkdirSync(state)
  const roots = createStateRoots([state])
  const store = await openReceiverStore(roots, join(base, 'data'), noXattrs, log)
  onTestFinished(() => store.close())
  const connect = (resume?: Resumable) => {
    const fake = fakeSocket()
    const problems: string[] = []
    const session = createReceiverSession({
      store,
      roots,
      clock: systemClock,
      epoch: 3,
      socket: fake.socket,
      resume,
      onCopy: () => undefined,
      onProgress: () => undefined,
      end: (why) => problems.push(why.message),
      reject: (error) => problems.push((error as Error).message),
    })
    const tell = (message: PrimaryMessage | object) =>
      session.receive(Buffer.from(JSON.stringify(message)), false)
    const give = async (...frames: readonly Buffer[]) => {
      for (const frame of frames) session.receive(Buffer.from(frame), true)
      await session.idle()
    }
    const accept = async (message: object = {}) => {
      tell({ type: 'accepted', epoch: 3, stream: STREAM, resumed: false, ...message })
      await session.idle()
    }
    return { ...fake, session, problems, tell, give, accept }
  }
  const content = () =>
    Object.fromEntries(readdirSync(state).map((name) => [name, readFileSync(join(state, name), 'utf8')]))
  return { connect, content, store }
}

test('what comes in turn is taken', async () => {
  const { connect, content } = await replica()
  const { accept, give, problems, said } = connect()
  await accept()
  await give(batch(1, writing('a', 'one')), batch(2, writing('a', 'two')))
  expect(problems).toEqual([])
  expect(content()).toEqual({ a: 'two' })
  expect(said.at(-1)).toEqual({ type: 'ack', durable: 2, taken: 2 })
})

const first = () => batch(1, writing('a', 'right'))
const evil = writing('a', 'wrong')

test.each<[string, Buffer[], string]>([
  ['the same batch twice', [first(), first()], 'batch 1 after 1'],
  ['two batches in the wrong order', [first(), batch(3, evil), batch(2, evil)], 'batch 3 after 1'],
  ['a batch with the number 0', [first(), batch(0, evil)], 'batch 0 after 1'],
  ['a batch of an older epoch', [first(), batch(2, evil, { epoch: 2 })], 'epoch 2 in epoch 3'],
  ['a batch of a later epoch', [first(), batch(2, evil, { epoch: 4 })], 'epoch 4 in epoch 3'],
  [
    'a bulk batch of an older epoch',
    [first(), batch(2, evil, { epoch: 2, flags: FrameFlag.bulk })],
    'epoch 2',
  ],
  ['a bulk batch twice', [first(), batch(1, evil, { flags: FrameFlag.bulk })], 'batch 1 after 1'],
  [
    'a manifest',
    [
      first(),
      packFrame({ type: FrameType.manifest, epoch: 3, seq: 2, flags: 2, body: encodeManifest([]) }, zstdOnly),
    ],
    'unexpected frame',
  ],
  ['no frame at all', [first(), Buffer.from('hello')], 'too few for a header'],
])('%s is refused, and nothing after it is taken', async (_, frames, problem) => {
  const { connect, content, store } = await replica()
  const { accept, give, problems } = connect()
  await accept()
  await give(...frames)
  expect(problems[0]).toContain(problem)
  expect(content()).toEqual({ a: 'right' })
  expect(store.taken).toBe(1)
})

test('a batch before the primary has accepted is refused', async () => {
  const { connect, content } = await replica()
  const { give, problems } = connect()
  await give(first())
  expect(problems).toEqual(['a batch before the primary has accepted'])
  expect(content()).toEqual({})
})

test.each<[string, object[], string]>([
  ['a second acceptance', [{}, {}], 'accepted twice'],
  ['an acceptance of another epoch', [{ epoch: 2 }], 'accepted in epoch 2'],
  ['a resumed stream that nobody asked for', [{ resumed: true }], 'another stream than was asked for'],
])('%s is refused', async (_, messages, problem) => {
  const { connect } = await replica()
  const { accept, problems } = connect()
  for (const message of messages) await accept(message)
  expect(problems[0]).toContain(problem)
})

test.each([
  '',
  'null',
  '{}',
  '{"type":"barrier"}',
  '{"type":"total","bytes":-1,"files":0}',
  '[]',
  '{"type":"ack"}',
])('the message %j is refused', async (text) => {
  const { connect } = await replica()
  const { session, problems } = connect()
  session.receive(Buffer.from(text), false)
  await session.idle()
  expect(problems).toHaveLength(1)
})

test('a stream that goes on takes the next number, and nothing that was taken', async () => {
  const { connect, content, store } = await replica()
  const before = connect()
  await before.accept()
  await before.give(first())
  const { resumable } = before.session
  expect(resumable).toMatchObject({ stream: STREAM })
  const wrong = connect(resumable)
  await wrong.accept({ resumed: true, stream: OTHER_STREAM })
  expect(wrong.problems[0]).toContain('another stream')

  const again = connect(resumable)
  await again.accept({ resumed: true })
  await again.give(batch(2, writing('b', 'next')))
  expect(again.problems).toEqual([])
  await again.give(first())
  expect(again.problems).toEqual(['batch 1 after 2'])
  expect(content()).toEqual({ a: 'right', b: 'next' })
  expect(store.taken).toBe(2)
})

test('a group that was begun in an earlier stream is not completed by a later one', async () => {
  const { connect, content } = await replica()
  const before = connect()
  await before.accept()
  await before.give(batch(1, writing('half', 'x'), { flags: 0 }))
  const after = connect(before.session.resumable)
  await after.accept({ stream: OTHER_STREAM })
  await after.give(batch(1, writing('whole', 'y')))
  expect(after.problems).toEqual([])
  expect(content()).toEqual({ whole: 'y' })
})

test('questions without end are refused, and none keeps the replica busy', async () => {
  const { connect } = await replica()
  const { accept, tell, session, problems } = connect()
  await accept()
  const barrier = { type: 'barrier', seq: 1e15, digest: 'x', except: [], xattrs: false }
  for (let id = 0; id < 20; id += 1) tell({ ...barrier, id })
  tell({ type: 'whole', seq: 0 })
  await session.idle()
  expect(problems[0]).toContain('asks too much')
})

test('what comes faster than it can be put in place is not read from the network', async () => {
  const { connect } = await replica()
  const { accept, session, state, problems } = connect()
  await accept()
  // Compressed to almost nothing it would be easy to send without end; plain it shows here sooner.
  const bytes = Uint8Array.from({ length: 1024 * 1024 }, (_, index) => (index * 2654435761) >>> 13)
  const ops: Op[] = [
    { kind: 'file', root: 0, path: 'a', meta, size: bytes.length, fresh: false },
    { kind: 'write', root: 0, path: 'a', offset: 0, bytes },
  ]
  const frames = Array.from({ length: 20 }, (_, index) => batch(index + 1, ops))
  for (const frame of frames) session.receive(frame, true)
  expect(state.paused).toBe(true)
  await session.idle()
  expect(state.paused).toBe(false)
  expect(problems).toEqual([])
})

const JOIN: Join = {
  type: 'join',
  protocol: 1,
  epoch: 3,
  instanceId: REPLICA,
  roots: 1,
  codecs: [],
  whole: true,
  xattrs: false,
  resume: null,
}

/** A primary's session with two small files to send, each a batch. */
async function primary() {
  const state = scratch()
  writeFileSync(join(state, 'a'), 'one')
  const roots = createStateRoots([state])
  const scanner = createScanner({
    roots,
    clock: systemClock,
    xattrs: noXattrs,
    onLook: (keys) => session.looked(keys),
  })
  const session = createSenderSession(
    {
      instance: REPLICA,
      epoch: 3,
      scanner,
      roots,
      clock: systemClock,
      log,
      pace: createPace(0, systemClock),
      pool: createBufferPool(),
      window: () => 1024 * 1024,
      isHeld: () => false,
      isUrgent: () => false,
      cutsOnly: false,
      verify: { every: minutes(10), share: 50 },
    },
    JOIN,
  )
  await scanner.full()
  const fake = fakeSocket()
  session.attach(fake.socket, JOIN)
  const stream = String(fake.said[0]?.stream)
  const manifest = (flags: number = FrameFlag.last, epoch = 3) =>
    session.onManifest(
      packFrame({ type: FrameType.manifest, epoch, seq: 1, flags, body: encodeManifest([]) }, zstdOnly),
    )
  const change = async (text: string) => {
    const { length } = fake.sent
    writeFileSync(join(state, 'a'), text)
    await scanner.exact()
    await until(() => fake.sent.length > length)
  }
  return { ...fake, session, stream, manifest, change }
}

test('a primary sends nothing before the manifest is complete', async () => {
  const { sent, manifest, session, said } = await primary()
  manifest(0)
  await new Promise(setImmediate)
  expect(sent).toEqual([])
  manifest()
  await until(() => said.some(({ type }) => type === 'whole'))
  expect(sent).toHaveLength(1)
  session.close('done')
})

test.each<[string, (made: Awaited<ReturnType<typeof primary>>) => unknown]>([
  ['a second manifest', ({ manifest }) => manifest()],
  ['taken more than was sent', ({ session }) => session.onMessage({ type: 'ack', durable: 0, taken: 2 })],
  ['durable more than was sent', ({ session }) => session.onMessage({ type: 'ack', durable: 9, taken: 9 })],
  ['durable more than was taken', ({ session }) => session.onMessage({ type: 'ack', durable: 1, taken: 0 })],
  [
    'an ack that goes back',
    async ({ session, change }) => {
      session.onMessage({ type: 'ack', durable: 1, taken: 1 })
      await change('two')
      session.onMessage({ type: 'ack', durable: 0, taken: 1 })
    },
  ],
  ['a batch as a manifest', ({ session }) => session.onManifest(batch(1, []))],
])('%s ends the session of a replica', async (_, act) => {
  const made = await primary()
  made.manifest()
  await until(() => made.sent.length === 1)
  await act(made)
  expect(made.session.ended).toBe(true)
  expect(made.state.closed).toBe(true)
  expect(made.session.lag.attached).toBe(false)
})

test('a manifest of another epoch ends the session', async () => {
  const { manifest, session } = await primary()
  manifest(FrameFlag.last, 2)
  expect(session.ended).toBe(true)
})

test('an answer to a question that was never asked has no effect', async () => {
  const { manifest, session } = await primary()
  manifest()
  const answers: ReplicaMessage[] = [
    { type: 'barrier-reached', id: 77, equal: false },
    { type: 'verified', id: 77, equal: false },
  ]
  for (const answer of answers) session.onMessage(answer)
  expect(session.ended).toBe(false)
  session.close('done')
})

test('a stream goes on only for the same stream, after what was taken and not after what was never sent', async () => {
  const { manifest, session, stream, sent, change } = await primary()
  manifest()
  await until(() => sent.length === 1)
  await change('two')
  session.onMessage({ type: 'ack', durable: 1, taken: 1 })
  const resume = (seq: number, of = stream) => session.canResume({ ...JOIN, resume: { stream: of, seq } })
  expect([0, 1, 2, 3, 1e15].map((seq) => resume(seq))).toEqual([false, true, true, false, false])
  expect(resume(1, OTHER_STREAM)).toBe(false)
  expect(session.canResume(JOIN)).toBe(false)

  session.detach()
  const next = fakeSocket()
  session.attach(next.socket, { ...JOIN, resume: { stream, seq: 1 } })
  expect(next.said[0]).toMatchObject({ type: 'accepted', stream, resumed: true })
  expect(next.sent.map((frame) => checkFrame(frame).seq)).toEqual([2])
  expect(sent[1]?.equals(next.sent[0] ?? Buffer.alloc(0))).toBe(true)
  session.close('done')
  expect(resume(2)).toBe(false)
})

test('what was asked before a break, and not answered, is asked again after it', async () => {
  const { manifest, session, stream, sent, said } = await primary()
  manifest()
  await until(() => sent.length === 1)
  session.onMessage({ type: 'ack', durable: 1, taken: 1 })
  await until(() => said.some(({ type }) => type === 'verify'))
  const { id } = said.find(({ type }) => type === 'verify') ?? {}
  session.onMessage({ type: 'verified', id: Number(id), equal: false })
  await until(() => said.some(({ type }) => type === 'reread'))
  const sealed = session.barrier([], AbortSignal.timeout(10_000), false)

  session.detach()
  const next = fakeSocket()
  session.attach(next.socket, { ...JOIN, resume: { stream, seq: 1 } })
  const again = next.said.filter(({ type }) => type === 'reread' || type === 'barrier')
  expect(again).toEqual(said.filter(({ type }) => type === 'reread' || type === 'barrier'))
  expect(again).toHaveLength(2)
  session.onMessage({ type: 'barrier-reached', id: Number(again[1]?.id), equal: true })
  await sealed
  session.close('done')
})
