import { expect, test } from 'vitest'
import { createBulkTrial } from './bulk-trial.ts'

const MIB = 1024 * 1024

/** Sends so many MiB, each taking so many milliseconds, by whether it is compressed. Returns how many were. */
function send(mib: number, millisOf: { compressed: number; plain: number }): { compressed: number } {
  let time = 0
  let compressed = 0
  const trial = createBulkTrial(() => time)
  for (let sent = 0; sent < mib; sent += 1) {
    if (trial.compresses) compressed += 1
    time += trial.compresses ? millisOf.compressed : millisOf.plain
    trial.taken(MIB)
  }
  return { compressed }
}

test('a slow network gets compressed bytes', () => {
  expect(send(1024, { compressed: 8, plain: 20 }).compressed).toBeGreaterThan(900)
})

test('a slow processor sends them as they are', () => {
  expect(send(1024, { compressed: 5, plain: 3 }).compressed).toBeLessThan(150)
})

test('both ways are tried before one is chosen', () => {
  const { compressed } = send(64, { compressed: 5, plain: 3 })
  expect(compressed).toBeGreaterThan(0)
  expect(compressed).toBeLessThan(64)
})
