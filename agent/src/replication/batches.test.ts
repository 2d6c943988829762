import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '@understudy/shared/core/time'
import { decodeOps } from '@understudy/shared/protocol/replication'
import { expect, test } from 'vitest'
import { batchesInTurn } from './batches.ts'
import { createScanner } from './scanner.ts'
import { createStateRoots } from './state-files.ts'
import { StateTree } from './state-tree.ts'
import { noXattrs, scratch } from './testing.ts'

const MIB = 1024 * 1024

test('whoever reads a long hole lets the event loop go on meanwhile', async () => {
  const state = join(scratch(), 'state')
  mkdirSync(state)
  writeFileSync(join(state, 'hole'), 'begin')
  truncateSync(join(state, 'hole'), 256 * MIB)
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
