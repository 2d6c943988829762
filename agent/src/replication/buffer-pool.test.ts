import { expect, test } from 'vitest'
import { createBufferPool } from './buffer-pool.ts'

test('buffers are used again while others are in use, and all but one are let go when none is', () => {
  const pool = createBufferPool()
  const held = pool.take()
  const busy = Array.from({ length: 6 }, pool.take)
  for (const buffer of busy) pool.give(buffer)
  const again = Array.from({ length: 6 }, pool.take)
  expect(new Set(again)).toEqual(new Set(busy))
  for (const buffer of [...again, held]) pool.give(buffer)
  const after = Array.from({ length: 7 }, pool.take)
  expect(after.filter((buffer) => busy.includes(buffer) || buffer === held)).toHaveLength(1)
})

test('what is not of the pool is not kept', () => {
  const pool = createBufferPool()
  const foreign = Buffer.alloc(10)
  pool.take()
  pool.give(foreign)
  expect(pool.take()).not.toBe(foreign)
})
