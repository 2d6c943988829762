import {
  appendFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type Random, randomInt, seededRandom } from '@understudy/shared/core/random'
import { systemClock } from '@understudy/shared/core/time'
import { decodeOps, FrameFlag, type Op } from '@understudy/shared/protocol/replication'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createApplier } from './applier.ts'
import { batchesFor } from './batches.ts'
import { openReceiverStore } from './receiver-store.ts'
import { createScanner } from './scanner.ts'
import { createStateRoots } from './state-files.ts'
import { StateTree } from './state-tree.ts'
import { frameOf, noXattrs, picture, scratch, take } from './testing.ts'

const stateOf = (base: string) => join(base, 'state')
const rootsOf = (base: string) => createStateRoots([stateOf(base)])

async function scan(base: string): Promise<StateTree> {
  const roots = rootsOf(base)
  const scanner = createScanner({ roots, clock: systemClock, xattrs: noXattrs, onLook: () => undefined })
  await scanner.full()
  return scanner.tree
}

function directory(): string {
  const base = scratch()
  mkdirSync(stateOf(base))
  return base
}

function copyOf(base: string): string {
  const copy = scratch()
  cpSync(base, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true })
  return copy
}

async function open(base: string) {
  const lines: string[] = []
  const log = pino({ level: 'warn' }, { write: (line) => lines.push(line) })
  return { store: await openReceiverStore(rootsOf(base), join(base, 'data'), noXattrs, log), lines }
}

/** What a primary sends to a replica with the tree `theirs`. */
async function batches(base: string, theirs: StateTree): Promise<Op[][]> {
  const ours = await scan(base)
  const keys = new Set([...ours.keys(), ...theirs.keys()])
  const onUnreadable = () => expect.unreachable()
  const source = { ours, theirs, roots: rootsOf(base), xattrs: false, onUnreadable }
  return [...batchesFor([...keys], source)].map(({ body }) => decodeOps(body))
}

/** Opens the store after a crash, brings it up to what is in `from`, and says whether its copy was whole. */
async function recover(base: string, from: string): Promise<{ whole: boolean; before: object }> {
  const { store } = await open(base)
  const { whole } = store
  const before = picture(stateOf(base))
  await store.dropPartial()
  const tree = await scan(base)
  store.adopt(new StateTree(tree))
  let seq = 0
  for (const ops of await batches(from, tree)) {
    seq += 1
    await take(store, frameOf(seq, ops, FrameFlag.bulk))
  }
  await store.commit(true)
  await store.checkpoint()
  await store.markWhole(seq)
  await store.close()
  expect(picture(stateOf(base))).toEqual(picture(stateOf(from)))
  return { whole, before }
}

/** Bytes that do not compress to nothing, so that batches have some length. */
const noise = (random: Random, bytes: number) =>
  Uint8Array.from({ length: bytes }, () => randomInt(random, 0, 255))

test('after a crash at any point of a transfer in bulk the store opens, and is whole only if its copy is', async () => {
  const random = seededRandom(1)
  const from = directory()
  const base = directory()
  const state = stateOf(from)
  mkdirSync(join(state, 'd'))
  writeFileSync(join(state, 'd/old'), noise(random, 9000))
  writeFileSync(join(state, 'big'), noise(random, 9000))
  await recover(base, from)
  const theirs = await scan(base)
  const old = picture(state)

  appendFileSync(join(state, 'big'), noise(random, 4_500_000))
  writeFileSync(join(state, 'other'), noise(random, 1_500_000))
  renameSync(join(state, 'd/old'), join(state, 'new'))
  rmSync(join(state, 'd'), { recursive: true })
  const now = picture(state)

  const { store } = await open(base)
  store.adopt(new StateTree(theirs))
  const crashes: string[] = []
  const crash = () => crashes.push(copyOf(base))
  let seq = 0
  for (const ops of await batches(from, theirs)) {
    seq += 1
    await take(store, frameOf(seq, ops, FrameFlag.bulk))
    crash()
    await store.commit(true)
    crash()
    await store.checkpoint()
    crash()
    // Only a part of the batch had been put in place.
    const half = copyOf(base)
    createApplier(rootsOf(half), await scan(half), noXattrs).apply(ops.slice(0, ops.length / 2))
    crashes.push(half)
  }
  await store.markWhole(seq)
  crash()
  await store.close()

  expect(seq).toBeGreaterThan(5)
  for (const at of crashes) {
    const { whole, before } = await recover(at, from)
    if (whole) expect([old, now]).toContainEqual(before)
  }
  const last = crashes.at(-1) ?? ''
  const { store: reopened } = await open(last)
  expect(reopened.whole).toBe(true)
  await reopened.close()
}, 60_000)

function change(random: Random, state: string): void {
  const names = ['a', 'b', 'd', 'd/e', 'd/f', 'd/g/h']
  const name = () => join(state, names[randomInt(random, 0, names.length - 1)] ?? 'a')
  const path = name()
  try {
    switch (randomInt(random, 0, 6)) {
      case 0:
        return rmSync(path, { recursive: true, force: true })
      case 1:
        return renameSync(path, name())
      case 2:
        return truncateSync(path, randomInt(random, 0, 6000))
      case 3:
        return symlinkSync('a', path)
      case 4:
        return linkSync(path, name())
      default:
        mkdirSync(join(path, '..'), { recursive: true })
        return writeFileSync(path, noise(random, randomInt(random, 0, 9000)))
    }
  } catch {
    // Not every change fits the tree as it is.
  }
}

/** Before a group with links is begun, what came before is synced and leaves the journal. */
function journalAfter(
  done: number,
  groups: readonly Op[][],
  frames: readonly { readonly frame: Buffer }[],
): Buffer[] {
  let from = 0
  let ops = 0
  for (const [index, group] of groups.entries()) {
    if (ops < done && group.some(({ kind }) => kind === 'link')) from = index
    ops += group.length
  }
  return frames.slice(from).map(({ frame }) => frame)
}

test.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])(
  'groups that were put in place up to any op are put in place again as a whole (seed %i)',
  async (seed) => {
    const random = seededRandom(seed)
    const from = directory()
    for (let i = 0; i < 10; i += 1) change(random, stateOf(from))
    const base = directory()
    await recover(base, from)
    const theirs = await scan(base)
    const before = new StateTree(theirs)
    const groups: Op[][] = []
    for (let group = 0; group < 6; group += 1) {
      for (let i = 0; i < 4; i += 1) change(random, stateOf(from))
      groups.push(...(await batches(from, theirs)))
    }
    const frames = groups.map((ops, index) => frameOf(index + 1, ops, FrameFlag.last))
    const ops = groups.flat()
    for (let done = 0; done <= ops.length; done += 1) {
      const at = copyOf(base)
      createApplier(rootsOf(at), new StateTree(before), noXattrs).apply(ops.slice(0, done))
      writeFileSync(join(at, 'data/journal'), Buffer.concat(journalAfter(done, groups, frames)))
      const { store, lines } = await open(at)
      expect(lines).toEqual([])
      expect(store.whole).toBe(true)
      await store.close()
      expect(picture(stateOf(at)), `after ${done} of ${ops.length} ops`).toEqual(picture(stateOf(from)))
    }
  },
  30_000,
)

test('a journal that does not fit what is on disk is set aside, and the primary makes the copy whole', async () => {
  const from = directory()
  writeFileSync(join(stateOf(from), 'a'), 'right')
  const base = directory()
  await recover(base, from)
  const { frame } = frameOf(
    1,
    [{ kind: 'write', root: 0, path: 'none', offset: 0, bytes: Buffer.from('x') }],
    FrameFlag.last,
  )
  writeFileSync(join(base, 'data/journal'), frame)
  const { store, lines } = await open(base)
  expect(store.whole).toBe(false)
  expect(lines.join()).toContain('refused to write into 0/none, which is no file')
  expect(lines.join()).toContain('replication.journal_set_aside')
  expect(readdirSync(join(base, 'data')).sort()).toEqual(['copy.json', 'journal', 'journal.refused'])
  await store.close()
  expect(await recover(base, from)).toMatchObject({ whole: false })
  expect(existsSync(join(stateOf(base), 'none'))).toBe(false)
})
