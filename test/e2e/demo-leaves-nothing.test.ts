import { readdirSync, readlinkSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import {
  coordinatorProgram,
  createScratch,
  endAll,
  processesWith,
  run,
  start,
  until,
} from './support/programs.ts'

/** However the demo ends, the machine is as it was before. */

const scratch = createScratch()
afterEach(async () => {
  await endAll()
  scratch.sweep()
})

/** Everything that the demo starts has its temporary directory in its environment, or runs below it. */
function processesBelow(directory: string): readonly number[] {
  const inside = readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`).startsWith(directory)
    } catch {
      // It has ended meanwhile.
      return false
    }
  })
  return [...new Set([...processesWith(directory), ...inside.map(Number)])]
}

/** The demo itself, its broom, the coordinator and the client; then an agent and a workload for every instance. */
const LEAST_PROCESSES = 6

async function startDemo(...args: string[]) {
  const directory = scratch.directory()
  const demo = start(coordinatorProgram, ['demo', '--no-open', '--port', '0', ...args], {
    env: { TMPDIR: directory },
  })
  await demo.said(/agents serve/, 60_000)
  expect(processesBelow(directory).length).toBeGreaterThanOrEqual(LEAST_PROCESSES)
  expect(readdirSync(directory)).toHaveLength(1)
  return { demo, directory }
}

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s ends the demo with no process and no file left',
  async (signal) => {
    const { demo, directory } = await startDemo('--agents', '1')
    demo.signal(signal)
    const { code, err } = await demo.ended
    expect(code).toBe(130)
    expect(err).toContain('Stopping')
    expect(processesBelow(directory)).toEqual([])
    expect(readdirSync(directory)).toEqual([])
  },
)

test('kill -9 in the middle of the story leaves no process and no file either', async () => {
  const { demo, directory } = await startDemo('--script', 'ci', '--seed', '3', '--agents', '4')
  demo.signal('SIGKILL')
  await demo.ended
  await until('every process has ended', () => processesBelow(directory).length === 0)
  await until('every file is gone', () => readdirSync(directory).length === 0)
})

test('a port that is in use ends the demo at once, and leaves nothing', async () => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as AddressInfo
  const directory = scratch.directory()
  const { code, err } = await run(coordinatorProgram, ['demo', '--no-open', '--port', String(port)], {
    env: { TMPDIR: directory },
  })
  taken.close()
  expect(code).not.toBe(0)
  expect(err).toContain(`${port} is in use`)
  expect(err).not.toContain('    at ')
  expect(processesBelow(directory)).toEqual([])
  expect(readdirSync(directory)).toEqual([])
})
