import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

/** The failover benchmark in small, from sources. */

const main = fileURLToPath(new URL('../bench/main.ts', import.meta.url))
const SMALL = ['--sources', '--states', '1', '--rates', '100', '--runs', '1', '--agents', '0', '--idle', '0']

const bench = (...args: readonly string[]) =>
  promisify(execFile)(process.execPath, [main, 'failover', ...args])

test('it moves a workload, has its own client judge that, and prints its figures as the last line', async () => {
  const { stdout } = await bench(...SMALL, '--triggers', 'kill,planned', '--json')
  const figures = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
  expect(figures).toMatchObject({ bundled: false, idle: [], overlaps: [], ok: true })
  expect(figures.cases.map(({ trigger }: { trigger: string }) => trigger)).toEqual(['kill', 'planned'])
  for (const each of figures.cases) {
    expect(each).toMatchObject({ state_mib: 1, writes_per_s: 100, agents: 1, runs: 1, failures: [] })
    expect(each.no_primary_p50_ms).toBeGreaterThan(0)
    expect(each.no_primary_p99_ms).toBe(each.no_primary_p50_ms)
    expect(each.detect_to_promoted_p99_ms).toBeGreaterThan(0)
    expect(each.own_start_p50_ms).toBeGreaterThan(0)
    expect(each.own_start_alone_p50_ms).toBeGreaterThan(0)
    // More than a second of writes before it, from a process that knows only the address.
    expect(each.writes_acked).toBeGreaterThan(100)
    expect(each.total_p99_ms).toBeGreaterThan(0)
  }
  const [kill, planned] = figures.cases
  expect(planned.writes_lost).toBe(0)
  // Nobody says anything then, so it is noticed only when the lease ends. What follows takes as long as the machine is busy.
  const unnoticed = (each: typeof kill) => each.total_p50_ms - each.detect_to_promoted_p50_ms
  expect(unnoticed(kill)).toBeGreaterThan(unnoticed(planned))
})

test('an unknown trigger is refused', async () => {
  await expect(bench('--triggers', 'storm')).rejects.toThrow('it must be some of notice, kill, planned')
})
