import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AppError } from '@understudy/shared/core/app-error'
import { systemClock } from '@understudy/shared/core/time'
import type { Op } from '@understudy/shared/protocol/replication'
import { encodeXattrs } from '@understudy/shared/protocol/xattrs'
import { expect, test } from 'vitest'
import { createApplier } from './applier.ts'
import { createScanner } from './scanner.ts'
import { createStateRoots } from './state-files.ts'
import { StateTree, treeDigest } from './state-tree.ts'
import { noXattrs, scratch } from './testing.ts'

/** Extended attributes that cannot be read or set are not taken for equal. */

const WANTED = encodeXattrs([{ name: 'user.a', value: '1' }])

test('attributes that cannot be read are asked for again, and make a seal say so', async () => {
  const state = scratch()
  writeFileSync(join(state, 'a'), 'x')
  let fails = true
  const scanner = createScanner({
    roots: createStateRoots([state]),
    clock: systemClock,
    onLook: () => undefined,
    xattrs: {
      ...noXattrs,
      available: true,
      read: async (paths) =>
        paths.map((path) => {
          if (!path.toString().endsWith('/a')) return ''
          return fails ? new AppError('state_unreadable', 'no answer') : WANTED
        }),
    },
  })
  await scanner.full()
  expect([...scanner.unreadable]).toEqual([])
  await scanner.exact()
  expect([...scanner.unreadable]).toEqual([['0/a', 'no answer']])
  fails = false
  await scanner.exact()
  expect([...scanner.unreadable]).toEqual([])
  expect(scanner.tree.file('0/a')?.meta.xattrs).toBe(WANTED)
})

test.each([
  ['could not be set', 'state_unreadable', false],
  ['cannot be there at all', 'not_supported', true],
] as const)('a replica whose attributes %s', async (_, code, same) => {
  const state = scratch()
  let fails = true
  const asked: number[] = []
  const tree = new StateTree()
  const applier = createApplier(createStateRoots([state]), tree, {
    ...noXattrs,
    available: true,
    writeAll: async (entries) => {
      asked.push(entries.length)
      return entries.map(() => (fails ? new AppError(code, 'not set') : undefined))
    },
  })
  const meta = { mode: 0o644, uid: 0, gid: 0, mtimeMicros: 0, xattrs: WANTED }
  const op: Op = { kind: 'file', root: 0, path: 'a', meta, size: 0, fresh: true }
  const wanted = new StateTree([['0/a', { kind: 'file', meta, size: 0, pages: new BigUint64Array(0) }]])
  applier.apply([{ kind: 'dir', root: 0, path: '', meta: { ...meta, mode: 0o755, xattrs: '' } }, op])
  expect(await applier.settleAttributes()).toHaveLength(1)
  const equals = () => treeDigest(tree, { except: new Set(['0/']) }) === treeDigest(wanted)
  expect(equals()).toBe(same)
  fails = false
  applier.apply([{ ...op, fresh: false }])
  await applier.settleAttributes()
  expect(equals()).toBe(true)
  // What is known to be missing is set with the next change.
  expect(asked.length).toBe(same ? 1 : 2)
})
