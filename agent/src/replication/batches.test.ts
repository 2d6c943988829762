import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '@understudy/shared/core/time'
import { decodeOps } from '@understudy/shared/protocol/replication'
import { afterEach, expect, test, vi } from 'vitest'
import { batchesFor, batchesInTurn } from './batches.ts'
import { createScanner } from './scanner.ts'
import { createStateRoots } from './state-files.ts'
import { StateTree } from './state-tree.ts'
import { noXattrs, scratch } from './testing.ts'

const MIB = 1024 * 1024

/** Opens files and reads none of them. */
const disk = vi.hoisted(() => ({ isBad: false }))
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>()
  const readSync = (...parts: Parameters<typeof real.readSync>) => {
    if (disk.isBad) throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
    return real.readSync(...parts)
  }
  return { ...real, readSync }
})
afterEach(() => {
  disk.isBad = false
})

test.each([true, false])(
  'a new file that cannot be read is not there as zeros (seen only: %s)',
  async (lazy) => {
    const state = join(scratch(), 'state')
    mkdirSync(state)
    writeFileSync(join(state, 'bad'), 'x'.repeat(10_000))
    const roots = createStateRoots([state])
    const scanner = createScanner({
      roots,
      clock: systemClock,
      xattrs: noXattrs,
      lazy,
      onLook: () => undefined,
    })
    await scanner.full()
    disk.isBad = true
    const unreadable: string[] = []
    const theirs = new StateTree()
    const source = {
      ours: scanner.tree,
      theirs,
      roots,
      xattrs: false,
      onUnreadable: (_: string, why: string) => unreadable.push(why),
    }
    const keys = [...scanner.tree.keys()]
    const ops = [...batchesFor(keys, source)].flatMap(({ body }) => decodeOps(body))
    expect(unreadable.join()).toMatch(/EIO/)
    expect(ops.filter(({ path }) => path === 'bad').at(-1)).toMatchObject({ kind: 'remove' })
    expect(keys.filter((key) => theirs.file(key))).toEqual([])
  },
)

test('whoever reads many zeros lets the event loop go on meanwhile', async () => {
  const state = join(scratch(), 'state')
  mkdirSync(state)
  writeFileSync(join(state, 'zeros'), 'begin')
  execFileSync('fallocate', ['-l', String(256 * MIB), join(state, 'zeros')])
  const roots = createStateRoots([state])
  const scanner = createScanner({
    roots,
    clock: systemClock,
    xattrs: noXattrs,
    lazy: true,
    onLook: () => undefined,
  })
  await scanner.full()
  const source = {
    ours: scanner.tree,
    theirs: new StateTree(),
    roots,
    xattrs: false,
    onUnreadable: () => expect.unreachable(),
  }
  let turns = 0
  let isReading = true
  const count = () => {
    turns += 1
    if (isReading) setImmediate(count)
  }
  setImmediate(count)
  const sent: number[] = []
  for await (const { body } of batchesInTurn([...scanner.tree.keys()], source))
    for (const op of decodeOps(body)) if (op.kind === 'write') sent.push(op.bytes.length)
  isReading = false
  expect(sent).toEqual([4096])
  expect(turns).toBeGreaterThanOrEqual(256 / 8)
})
