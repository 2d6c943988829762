import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { killMarked, type ProcessFacts, WORKLOAD_KEY, workloadAmong } from './process-tree.ts'

const SELF = 100
const facts = (pid: number, parent: number, more: Partial<ProcessFacts> = {}): ProcessFacts => ({
  pid,
  parent,
  marked: false,
  inService: false,
  ...more,
})

test('what carries the mark is the workload, and whatever descends from it', () => {
  const processes = [
    facts(SELF, 1, { inService: true }),
    facts(200, 1, { marked: true }),
    facts(201, 200),
    facts(202, 201),
    facts(300, 1),
  ]
  expect(workloadAmong(processes, SELF)).toEqual([200, 201, 202])
})

test('in a service of its own, so is what has lost both mark and parent, but not what the daemon runs for itself', () => {
  const processes = [
    facts(SELF, 1, { inService: true }),
    facts(200, 1, { inService: true }),
    facts(210, SELF, { inService: true }),
    facts(211, 210, { inService: true }),
    facts(220, SELF, { inService: true, marked: true }),
    facts(400, 1),
  ]
  expect(workloadAmong(processes, SELF)).toEqual([200, 220])
})

test('a child that has cleared its environment is killed with the rest', async () => {
  const key = `tree-test-${process.pid}`
  const child = spawn('sh', ['-c', 'env -i sleep 60 & echo started; wait'], {
    env: { ...process.env, [WORKLOAD_KEY]: key },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const ended = once(child, 'exit')
  await once(child.stdout, 'data')
  expect(await killMarked(key)).toBeGreaterThanOrEqual(2)
  await ended
})
