import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { forgetCopy, openCopyMark } from './copy-mark.ts'
import { scratch } from './testing.ts'

test('only where it was never written nothing is known of a copy', async () => {
  const data = scratch()
  const path = join(data, 'copy.json')
  expect(openCopyMark(path)).toMatchObject({ whole: false, partial: false })
  await openCopyMark(path).set(false)
  expect(openCopyMark(path)).toMatchObject({ whole: false, partial: true })

  const refused = { code: 'state_unreadable', hint: expect.stringContaining('{"whole":false}') }
  const codeOf = () => {
    try {
      return openCopyMark(path)
    } catch (error) {
      return error
    }
  }
  writeFileSync(path, '{"who')
  expect(codeOf()).toMatchObject(refused)
  // Whoever begins anew does not ask what it said.
  await forgetCopy(data)
  expect(openCopyMark(path).partial).toBe(true)
  rmSync(path)
  mkdirSync(path)
  expect(codeOf()).toMatchObject({ ...refused, message: expect.stringContaining('EISDIR') })
})
