import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { canMount, fillDisk, mountSmallDisk, unmountDisk } from '../replication/small-disk.ts'
import { openRoleStore } from './role-store.ts'

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'understudy-role-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

test.skipIf(!canMount)('a new epoch is remembered although the disk is full, again and again', async () => {
  const disk = directory()
  mountSmallDisk(disk, 1)
  onTestFinished(() => unmountDisk(disk))
  const file = join(disk, 'role.json')
  const store = openRoleStore(file)
  await store.save({ epoch: 1, active: true })
  fillDisk(disk)
  expect(() => writeFileSync(join(disk, 'more'), Buffer.alloc(4096, 1))).toThrow('ENOSPC')
  for (let epoch = 2; epoch < 20; epoch += 1) {
    await store.save({ epoch })
    expect(openRoleStore(file).memory).toMatchObject({ epoch, active: true })
  }
})

test('what cannot be written for another reason is told', async () => {
  const gone = join(directory(), 'gone')
  await expect(openRoleStore(join(gone, 'role.json')).save({ epoch: 1 })).rejects.toThrow('ENOENT')
})
