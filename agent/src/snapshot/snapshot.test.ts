import { createHash, randomBytes } from 'node:crypto'
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { seededRandom } from '@understudy/shared/core/random'
import { systemClock } from '@understudy/shared/core/time'
import { encodeOps, FrameType } from '@understudy/shared/protocol/replication'
import fc from 'fast-check'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createCompressor, packFrame } from '../replication/replication.ts'
import { picture, scratch } from '../replication/testing.ts'
import { createDirectoryStore } from './directory-store.ts'
import type { ObjectStore } from './object-store.ts'
import { restore } from './restore.ts'
import { openRestoreMark } from './restore-mark.ts'
import { createSnapshotStore } from './snapshot-store.ts'
import { createSnapshotWriter } from './snapshot-writer.ts'
import { openState } from './state.ts'

/** Snapshots of real directories into a store, and back. */

const log = pino({ level: process.env.TEST_LOG ?? 'silent' })
const { signal } = new AbortController()
const MIB = 1024 * 1024

interface Bench {
  readonly state: string
  readonly storeAt: string
  take(
    epoch?: number,
    frozen?: boolean,
  ): Promise<Awaited<ReturnType<ReturnType<typeof createSnapshotWriter>['take']>>>
  /** As after a restart of the agent. */
  restart(): void
  /** Restores into a new directory. Returns it. */
  back(at?: string): Promise<string>
  names(): Promise<string[]>
}

async function bench({ keep = 24, wrap = (store: ObjectStore) => store } = {}): Promise<Bench> {
  const base = scratch()
  const state = join(base, 'state')
  const storeAt = join(base, 'store')
  mkdirSync(state)
  mkdirSync(storeAt)
  const opened = await openState({ state: [state] }, log)
  const store = createSnapshotStore(wrap(createDirectoryStore(storeAt)), 'orders')
  const open = () =>
    createSnapshotWriter({
      store,
      agent: agentId('orders'),
      instance: instanceId('i-primary1'),
      state: opened,
      keep,
      clock: systemClock,
      log,
    })
  let writer = open()
  let restores = 0
  return {
    state,
    storeAt,
    take: (epoch = 1, frozen = true) => writer.take({ epoch, frozen, signal }),
    restart() {
      writer = open()
    },
    async back(at) {
      restores += 1
      const to = join(base, `back-${restores}`)
      mkdirSync(to)
      const mark = openRestoreMark(join(base, `mark-${restores}`))
      const parts = {
        store,
        state: await openState({ state: [to] }, log),
        mark,
        discarded: join(base, 'discarded'),
        clock: systemClock,
        log,
      }
      await restore(parts, { at, force: false, signal })
      expect(mark.progress).toBeUndefined()
      return to
    },
    names: async () => (await store.names(signal)).map(({ id }) => id),
  }
}

const put = (directory: string, name: string, content: string | Buffer) => {
  mkdirSync(join(directory, name, '..'), { recursive: true })
  writeFileSync(join(directory, name), content)
}
const noise = (bytes: number, seed = 1): Buffer => {
  const random = seededRandom(seed)
  return Buffer.from(Array.from({ length: bytes }, () => Math.floor(random() * 256)))
}

test('what is restored is what was there: files, directories, links, modes and times', async () => {
  const b = await bench()
  put(b.state, 'a/b/file', noise(100_000))
  put(b.state, 'empty', '')
  put(b.state, 'large', Buffer.concat([noise(MIB), Buffer.alloc(3 * MIB), noise(MIB)]))
  symlinkSync('a/b/file', join(b.state, 'link'))
  linkSync(join(b.state, 'empty'), join(b.state, 'a/other-name'))
  mkdirSync(join(b.state, 'nothing in here'), { mode: 0o750 })
  await b.take()
  expect(picture(await b.back())).toEqual(picture(b.state))
})

test('the next snapshot sends only what has changed, and leads to the new state', async () => {
  const b = await bench()
  put(b.state, 'large', noise(5 * MIB))
  put(b.state, 'gone', 'x')
  const first = await b.take()
  put(b.state, 'small', 'new')
  rmSync(join(b.state, 'gone'))
  const second = await b.take()
  expect(first.bytesSent).toBeGreaterThan(5 * MIB)
  expect(second.bytesSent).toBeLessThan(200_000)
  expect(second.base).toBeUndefined()
  expect(second.snapshot.packs.length).toBe(first.snapshot.packs.length + 1)
  expect(picture(await b.back())).toEqual(picture(b.state))
  const before = picture(await b.back(first.snapshot.id))
  expect(Object.keys(before).sort()).toEqual(['gone', 'large'])
})

test('an agent that was restarted, and another instance of a later epoch, go on from the last snapshot', async () => {
  const b = await bench()
  put(b.state, 'large', noise(5 * MIB))
  await b.take()
  b.restart()
  put(b.state, 'more', 'of it')
  const next = await b.take(2)
  expect(next.base).toBeUndefined()
  expect(next.bytesSent).toBeLessThan(200_000)
  expect(next.snapshot).toMatchObject({ epoch: 2, seq: 1 })
  expect(picture(await b.back())).toEqual(picture(b.state))
})

test('a state that has not changed only moves the time of its newest snapshot', async () => {
  const b = await bench()
  put(b.state, 'x', 'y')
  const first = await b.take()
  const second = await b.take()
  expect(second.bytesSent).toBe(0)
  expect(await b.names()).toEqual([second.snapshot.id])
  expect(second.snapshot.seq).toBe(first.snapshot.seq + 1)
})

test('whoever has lost its epoch makes no snapshot, and what it made never counts as the newest', async () => {
  const b = await bench()
  put(b.state, 'x', 'of epoch 4')
  const old = await b.take(4)
  b.restart()
  put(b.state, 'x', 'of epoch 5')
  const current = await b.take(5)
  b.restart()
  await expect(b.take(4)).rejects.toMatchObject({ code: 'stale_epoch' })
  // As if it had been cut off just before its last step: higher number, later time, lower epoch.
  const late = { ...old.snapshot, id: '20991231T000000Z-4-99', seq: 99 }
  put(b.storeAt, `orders/snapshots/${late.id}.json`, JSON.stringify(late))
  expect((await b.names())[0]).toBe(current.snapshot.id)
  expect(readFileSync(join(await b.back(), 'x'), 'utf8')).toBe('of epoch 5')
})

test('old snapshots go, with packs that nobody needs; those that are kept can be restored', async () => {
  const b = await bench({ keep: 2 })
  const pictures = new Map<string, unknown>()
  for (let round = 0; round < 5; round += 1) {
    put(b.state, 'log', noise(10_000, round))
    put(b.state, `file-${round % 3}`, noise(1000, round))
    const { snapshot } = await b.take()
    pictures.set(snapshot.id, picture(b.state))
  }
  const names = await b.names()
  expect(names).toHaveLength(2)
  for (const name of names) expect(picture(await b.back(name))).toEqual(pictures.get(name))
})

test('packs that no snapshot names go after a day; those that one names stay, however old', async () => {
  const b = await bench({ keep: 2 })
  for (let round = 0; round < 4; round += 1) {
    put(b.state, `file-${round}`, noise(5000, round))
    await b.take()
  }
  const packs = join(b.storeAt, 'orders/packs')
  const orphans = ['1', '2'].map((digit) => digit.repeat(64))
  for (const orphan of orphans) put(packs, orphan, 'of a snapshot that was never made')
  const longAgo = new Date(Date.now() - 25 * 3_600_000)
  const before = readdirSync(packs)
  for (const name of before) if (name !== orphans[1]) utimesSync(join(packs, name), longAgo, longAgo)
  b.restart()
  await b.take()
  const after = readdirSync(packs)
  expect(after).not.toContain(orphans[0])
  expect(after).toContain(orphans[1])
  expect(after.length).toBeLessThan(before.length)
  for (const name of await b.names()) await b.back(name)
  expect(picture(await b.back())).toEqual(picture(b.state))
})

test('a chain that is much larger than the state is begun anew', async () => {
  const b = await bench()
  put(b.state, 'x', 'y')
  let last = await b.take()
  for (let round = 0; round < 10; round += 1) {
    put(b.state, 'noise', randomBytes(16 * MIB))
    last = await b.take()
    if (last.base) break
  }
  expect(last.base).toContain('twice as large')
  expect(last.snapshot.packs.reduce((sum, pack) => sum + pack.raw_bytes, 0)).toBeLessThan(17 * MIB)
  expect(picture(await b.back())).toEqual(picture(b.state))
}, 60_000)

test('a pack that is missing from the store makes the next snapshot a whole one', async () => {
  const b = await bench()
  put(b.state, 'x', 'y')
  const { snapshot } = await b.take()
  rmSync(join(b.storeAt, 'orders/packs', snapshot.packs[0]?.sha256 ?? ''))
  await expect(b.back()).rejects.toMatchObject({
    code: 'state_unreadable',
    hint: expect.stringContaining('--at'),
  })
  const next = await b.take()
  expect(next.base).toContain('is missing')
  expect(picture(await b.back())).toEqual(picture(b.state))
})

test.each([
  ['shorter', (path: string) => truncateSync(path, 100)],
  [
    'changed in one byte',
    (path: string) => {
      const bytes = readFileSync(path)
      bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 1, bytes.length - 1)
      writeFileSync(path, bytes)
    },
  ],
])('a pack that is %s is refused, and an older snapshot can be taken', async (_, damage) => {
  const b = await bench()
  put(b.state, 'x', 'old')
  const first = await b.take()
  put(b.state, 'x', 'new')
  const second = await b.take()
  damage(join(b.storeAt, 'orders/packs', second.snapshot.packs.at(-1)?.sha256 ?? ''))
  await expect(b.back()).rejects.toMatchObject({
    code: 'state_unreadable',
    message: expect.stringContaining('damaged'),
  })
  expect(readFileSync(join(await b.back(first.snapshot.id), 'x'), 'utf8')).toBe('old')
})

/** A store that stops working after so many calls, as when the instance ends. */
function mortal(store: ObjectStore, life: { calls: number }): ObjectStore {
  const live = () => {
    life.calls -= 1
    if (life.calls < 0) throw new Error('the instance has ended')
  }
  return {
    ...store,
    put: async (...call) => {
      live()
      await store.put(...call)
      live()
    },
    remove: async (...call) => {
      live()
      await store.remove(...call)
    },
  }
}

test('an end at any step of a snapshot leaves only whole ones to be seen, and the next one goes on', async () => {
  let ended = 0
  for (let calls = 0; calls < 40; calls += 1) {
    const life = { calls: Number.POSITIVE_INFINITY }
    const b = await bench({ keep: 1, wrap: (store) => mortal(store, life) })
    put(b.state, 'a', noise(50_000, 1))
    await b.take()
    const before = picture(b.state)
    put(b.state, 'a', noise(60_000, 2))
    put(b.state, 'dir/b', noise(2000, 3))
    life.calls = calls
    const failed = await b.take().then(
      () => false,
      () => true,
    )
    ended += failed ? 1 : 0
    life.calls = Number.POSITIVE_INFINITY
    const seen = picture(await b.back())
    expect([before, picture(b.state)]).toContainEqual(seen)
    b.restart()
    const next = await b.take(2)
    expect(picture(await b.back())).toEqual(picture(b.state))
    expect(await b.names()).toEqual([next.snapshot.id])
    if (!failed) break
  }
  // A pack, the manifest, the document: each before and after.
  expect(ended).toBeGreaterThanOrEqual(6)
})

test('what was sent before a crash is not sent again, also when something else has changed since', async () => {
  const life = { calls: Number.POSITIVE_INFINITY }
  const b = await bench({ wrap: (store) => mortal(store, life) })
  for (let file = 0; file < 6; file += 1) put(b.state, `file-${file}`, noise(5 * MIB, file))
  life.calls = 8
  await expect(b.take()).rejects.toThrow()
  expect(await b.names()).toEqual([])
  life.calls = Number.POSITIVE_INFINITY
  b.restart()
  put(b.state, 'file-5', 'it is small now')
  const taken = await b.take(2)
  expect(taken.bytesThere).toBeGreaterThan(9 * MIB)
  expect(picture(await b.back())).toEqual(picture(b.state))
}, 60_000)

type Edit =
  | { kind: 'write'; size: number; seed: number }
  | { kind: 'truncate'; size: number }
  | { kind: 'remove' | 'directory' | 'link' }

function change(path: string, edit: Edit): void {
  if (edit.kind === 'truncate') {
    if (existsSync(path) && lstatSync(path).isFile()) truncateSync(path, edit.size)
    return
  }
  const parent = join(path, '..')
  if (!lstatSync(parent, { throwIfNoEntry: false })?.isDirectory()) rmSync(parent, { force: true })
  mkdirSync(parent, { recursive: true })
  rmSync(path, { recursive: true, force: true })
  if (edit.kind === 'write') writeFileSync(path, noise(edit.size, edit.seed))
  if (edit.kind === 'directory') mkdirSync(path)
  if (edit.kind === 'link') symlinkSync('../somewhere', path)
}

test('random trees, edited at random: every snapshot that is kept is the state as it was', async () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd-e', 'd-f', 'g/h/i', 'g/h')
  const edit = fc.oneof(
    fc.record({ kind: fc.constant('write' as const), name, size: fc.nat(30_000), seed: fc.nat(5) }),
    fc.record({ kind: fc.constant('remove' as const), name }),
    fc.record({ kind: fc.constant('directory' as const), name }),
    fc.record({ kind: fc.constant('link' as const), name }),
    fc.record({ kind: fc.constant('truncate' as const), name, size: fc.nat(9000) }),
    fc.record({ kind: fc.constant('snapshot' as const), name, restart: fc.boolean() }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { maxLength: 25 }), async (edits) => {
      const b = await bench()
      const taken = new Map<string, Record<string, string>>()
      let epoch = 1
      for (const step of edits) {
        if (step.kind !== 'snapshot') {
          change(join(b.state, step.name), step)
          continue
        }
        if (step.restart) {
          b.restart()
          epoch += 1
        }
        const { snapshot } = await b.take(epoch)
        taken.set(snapshot.id, picture(b.state))
      }
      const last = await b.take(epoch)
      taken.set(last.snapshot.id, picture(b.state))
      for (const id of await b.names()) expect(picture(await b.back(id))).toEqual(taken.get(id))
    }),
    { numRuns: 25 },
  )
}, 60_000)

test('directories that are not empty are refused, or moved aside', async () => {
  const b = await bench()
  put(b.state, 'x', 'y')
  await b.take()
  const base = scratch()
  const to = join(base, 'state')
  put(to, 'precious', 'data')
  const store = createSnapshotStore(createDirectoryStore(b.storeAt), 'orders')
  const mark = openRestoreMark(join(base, 'mark'))
  const parts = {
    store,
    state: await openState({ state: [to] }, log),
    mark,
    discarded: join(base, 'discarded'),
    clock: systemClock,
    log,
  }
  await expect(restore(parts, { force: false, signal })).rejects.toMatchObject({
    code: 'conflict',
    hint: expect.stringContaining('--force'),
  })
  expect(readdirSync(to)).toEqual(['precious'])
  const { movedTo } = await restore(parts, { force: true, signal })
  expect(readFileSync(join(movedTo ?? '', '0/precious'), 'utf8')).toBe('data')
  expect(picture(to)).toEqual(picture(b.state))
})

test('a restore that was cut off goes on where it was, also over what it had half put in place', async () => {
  const b = await bench()
  for (let round = 0; round < 4; round += 1) {
    put(b.state, `file-${round}`, noise(300_000, round))
    rmSync(join(b.state, `file-${round - 2}`), { force: true })
    await b.take()
  }
  const base = scratch()
  const to = join(base, 'state')
  mkdirSync(to)
  const inner = createDirectoryStore(b.storeAt)
  const gets: string[] = []
  let left = 3
  const failing: ObjectStore = {
    ...inner,
    get: async (key, max, until) => {
      if (key.includes('/packs/')) {
        left -= 1
        if (left < 0) throw new Error('cut off')
        gets.push(key)
      }
      return inner.get(key, max, until)
    },
  }
  const store = createSnapshotStore(failing, 'orders')
  const parts = {
    store,
    state: await openState({ state: [to] }, log),
    discarded: join(base, 'discarded'),
    clock: systemClock,
    log,
  }
  const first = openRestoreMark(join(base, 'mark'))
  await expect(restore({ ...parts, mark: first }, { force: false, signal })).rejects.toThrow('cut off')
  expect(openRestoreMark(join(base, 'mark')).progress?.snapshot).toBe((await b.names())[0])
  // Noted after each pack here: what is noted is not fetched again.
  await openRestoreMark(join(base, 'mark')).set({ snapshot: (await b.names())[0] ?? '', packs: 2 })
  left = Number.POSITIVE_INFINITY
  gets.length = 0
  const mark = openRestoreMark(join(base, 'mark'))
  const { resumedAt } = await restore({ ...parts, mark }, { force: false, signal })
  expect(resumedAt).toBe(2)
  expect(gets).toHaveLength(2)
  expect(picture(to)).toEqual(picture(b.state))
})

test('what an interrupted restore has left is begun anew when it is not what was noted', async () => {
  const b = await bench()
  put(b.state, 'x', noise(5000))
  await b.take()
  put(b.state, 'y', noise(5000))
  const { snapshot } = await b.take()
  const base = scratch()
  const to = join(base, 'state')
  put(to, 'x', 'something else')
  const mark = openRestoreMark(join(base, 'mark'))
  await mark.set({ snapshot: snapshot.id, packs: 1 })
  const store = createSnapshotStore(createDirectoryStore(b.storeAt), 'orders')
  await restore(
    {
      store,
      state: await openState({ state: [to] }, log),
      mark,
      discarded: join(base, 'discarded'),
      clock: systemClock,
      log,
    },
    { force: false, signal },
  )
  expect(picture(to)).toEqual(picture(b.state))
})

test('a pack that leads outside the state directories is refused, whatever its checksums say', async () => {
  const b = await bench()
  put(b.state, 'x', 'y')
  const { snapshot } = await b.take()
  const meta = { mode: 0o644, uid: 0, gid: 0, mtimeMicros: 0, xattrs: '' }
  const body = encodeOps([{ kind: 'file', root: 0, path: '../outside', meta, size: 0, fresh: true }])
  const content = packFrame(
    { type: FrameType.batch, epoch: 0, seq: 1, flags: 0, body },
    createCompressor([], () => 0),
  )
  const sha256 = createHash('sha256').update(content).digest('hex')
  put(b.storeAt, `orders/packs/${sha256}`, content)
  const packs = [...snapshot.packs, { sha256, bytes: content.length, raw_bytes: body.length }]
  const hostile = { ...snapshot, id: '20261121T063000Z-9-1', epoch: 9, packs }
  put(b.storeAt, `orders/snapshots/${hostile.id}.json`, JSON.stringify(hostile))
  await expect(b.back()).rejects.toMatchObject({
    code: 'state_unreadable',
    message: expect.stringContaining('outside the state directory'),
  })
})

test('a snapshot of another layout, and one that cannot be understood, are refused', async () => {
  const b = await bench()
  put(b.state, 'x', 'y')
  const { snapshot } = await b.take()
  const other = { ...snapshot, id: '20261121T063000Z-9-1', epoch: 9, directories: ['/a', '/b'] }
  put(b.storeAt, `orders/snapshots/${other.id}.json`, JSON.stringify(other))
  await expect(b.back()).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('2 state directories'),
  })
  put(b.storeAt, 'orders/snapshots/20261121T063000Z-9-2.json', '{"schema":"understudy.snapshot/v1"}')
  await expect(b.back()).rejects.toMatchObject({ code: 'state_unreadable' })
})

test('a running workload: the snapshot is of one moment per file, and can be restored', async () => {
  const b = await bench()
  put(b.state, 'log', noise(1000))
  let running = true
  const writing = (async () => {
    for (let round = 0; running; round += 1) {
      put(b.state, 'log', noise(1000 + (round % 50) * 100, round % 7))
      put(b.state, `dir-${round % 3}/x`, noise(500, round % 5))
      if (round % 5 === 0) rmSync(join(b.state, `dir-${round % 3}`), { recursive: true, force: true })
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  })()
  for (let round = 0; round < 10; round += 1) {
    const { snapshot } = await b.take(1, false)
    expect(snapshot.workload).toBe('running')
    await b.back()
  }
  running = false
  await writing
  await b.take(1, true)
  expect(picture(await b.back())).toEqual(picture(b.state))
})
