import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

/** The replication benchmark in small, without the tools that it compares with, which a machine may not have. */

const main = fileURLToPath(new URL('../bench/main.ts', import.meta.url))
const SMALL = ['--size', '8', '--files', '50', '--runs', '1', '--seconds', '1', '--rate', '200']

const bench = (...args: readonly string[]) =>
  promisify(execFile)(process.execPath, [main, 'replication', ...args])

test('it copies, rewrites and follows, finds the copies equal, and prints its figures as the last line', async () => {
  const { stdout, stderr } = await bench(...SMALL, '--alone', '--json')
  expect(stderr).toContain('ratios without them are null')
  const figures = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
  expect(figures).toMatchObject({
    initial_sync_speed_vs_rsync: null,
    rewrite_bytes_vs_rsync: null,
    rewrite_time_vs_rsync: null,
    wrong: [],
    lag: { ours: { written: 210, unseen: 0 }, rsync_loop: null, lsyncd: null },
  })
  expect(figures.cpu_s_per_gib).toBeGreaterThan(0)
  expect(figures.rss_mib).toBeGreaterThan(40)
  expect(figures.lag_p99_ms).toBeGreaterThanOrEqual(figures.lag_p50_ms)
  // Of 8 MiB, half is random: neither nothing nor everything went over the wire.
  expect(figures.initial.ours.wireMib).toBeGreaterThan(2)
  expect(figures.initial.ours.wireMib).toBeLessThan(8)
})

test('an unknown part is refused', async () => {
  await expect(bench('--only', 'a,d')).rejects.toThrow('it must be some of a, b and c')
})
