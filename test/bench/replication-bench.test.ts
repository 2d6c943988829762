import {
  chmodSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { percentile } from './bench.ts'
import { prepareProbe, probeLag } from './lag-probe.ts'
import { parseInterfaceBytes, watchMemory } from './measure.ts'
import { toJson, toRows } from './replication-report.ts'
import { medians, rotated } from './replication-rig.ts'
import {
  byteSource,
  databasePages,
  firstDifference,
  makePageFile,
  makeTree,
  rewrite,
  smallSizes,
} from './replication-tree.ts'

/** What the figures of the replication benchmark rest on. */

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'understudy-bench-test-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))
const at = (name: string) => join(directory, name)

test('a tree is the same for the same seed, and about as large as asked', () => {
  const bytes = [1, 1, 2].map((seed, index) => makeTree(at(`${index}`), { mib: 2, files: 100 }, seed))
  expect(bytes[0]).toBeGreaterThan(1.95 * 1024 * 1024)
  expect(bytes[0]).toBeLessThan(2.05 * 1024 * 1024)
  expect(bytes[1]).toBe(bytes[0])
  for (const name of ['large.db', 'd0/f0', 'd1/f99']) {
    const content = ['0', '1', '2'].map((tree) => readFileSync(join(at(tree), name)))
    expect(content[0]?.equals(content[1] as Buffer)).toBe(true)
    expect(content[0]?.equals(content[2] as Buffer)).toBe(false)
  }
})

test('small sizes are spread and add up', () => {
  const sizes = smallSizes(byteSource(1), 5000, 5_000_000)
  expect(sizes.reduce((all, size) => all + size, 0)).toBeGreaterThan(4_900_000)
  const sorted = [...sizes].sort((a, b) => a - b)
  // Of a log-normal distribution with σ = 1 the mean is e^½ = 1.65 times the median.
  expect(1000 / (sorted[2500] as number)).toBeCloseTo(1.65, 0)
})

test('a rewrite changes no more than one page of a hundred and appends 1 MiB', () => {
  makePageFile(at('pages'), 4, 1)
  const before = readFileSync(at('pages'))
  const bytes = rewrite(at('pages'), 7)
  const after = readFileSync(at('pages'))
  const changed = Array.from({ length: 1024 }, (_, page) => page * 4096).filter(
    (from) => before.compare(after, from, from + 4096, from, from + 4096) !== 0,
  )
  expect(changed.length).toBeGreaterThan(0)
  expect(changed.length).toBeLessThanOrEqual(10)
  expect(after.length).toBe(before.length + 1024 * 1024)
  expect(bytes).toBe(10 * 4096 + 1024 * 1024)
  expect(databasePages(byteSource(1), 3)).toHaveLength(3 * 4096)
})

test('every difference between two trees is found: a byte, a size, a name, a mode, a time', () => {
  makeTree(at('a'), { mib: 1, files: 10 }, 1)
  const spoiled: Readonly<Record<string, (path: string) => void>> = {
    'other bytes': (path) => {
      const content = readFileSync(path)
      content.writeUInt8((content.readUInt8(content.length - 1) + 1) % 256, content.length - 1)
      writeFileSync(path, content)
    },
    '1 bytes': (path) => truncateSync(path, 1),
    '9 there': (path) => rmSync(path),
    'mode 100644 and 100600': (path) => chmodSync(path, 0o600),
    'changed at': (path) => utimesSync(path, 1, 1),
  }
  chmodSync(at('a/d0/f3'), 0o644)
  for (const [words, change] of Object.entries(spoiled)) {
    rmSync(at('b'), { recursive: true, force: true })
    cpSync(at('a'), at('b'), { recursive: true, preserveTimestamps: true })
    for (const tree of ['a', 'b']) sameTimes(at(tree))
    expect(firstDifference(at('a'), at('b'))).toBeUndefined()
    change(at('b/d0/f3'))
    if (!/there|changed/.test(words)) utimesSync(at('b/d0/f3'), 5, 5)
    expect(firstDifference(at('a'), at('b'))).toContain(words)
  }
})

const sameTimes = (tree: string) => {
  for (const entry of readdirSync(tree, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) utimesSync(join(entry.parentPath, entry.name), 5, 5)
}

test('a probe counts every record that arrives, and those that never do', async () => {
  prepareProbe(at('from'))
  const load = { seconds: 1, rate: 200 }
  const all = await probeLag(at('from'), at('from'), load)
  expect(all).toMatchObject({ written: 210, unseen: 0 })
  expect(Math.min(...all.lags)).toBeGreaterThanOrEqual(0)
  expect(percentile(all.lags, 50)).toBeLessThan(1000)
  const none = await probeLag(at('from'), at('nowhere'), load, 0)
  expect(none).toMatchObject({ lags: [], unseen: none.written })
  expect(none.written).toBeGreaterThan(0)
})

test('the counter of an interface is its sent bytes', () => {
  const text = `Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo: 1000       10    0    0    0     0          0         0     2000      20    0    0    0     0       0          0
  eth0:77777       10    0    0    0     0          0         0     3000      20    0    0    0     0       0          0
`
  expect(parseInterfaceBytes(text, 'lo')).toBe(2000)
  expect(parseInterfaceBytes(text, 'eth0')).toBe(3000)
  expect(() => parseInterfaceBytes(text, 'eth1')).toThrow('does not list eth1')
})

test('the memory of a process is seen', () => {
  const { rssMib, anonMib } = watchMemory([process.pid]).stop()
  expect(rssMib).toBeGreaterThan(20)
  expect(anonMib).toBeGreaterThan(5)
  expect(anonMib).toBeLessThan(rssMib)
})

test('medians of each figure, and another tool first in each run', () => {
  expect(medians([{ s: 3 }, { s: 1 }, { s: 2 }])).toEqual({ s: 2 })
  expect(medians([])).toBeNull()
  expect([0, 1, 3].map((run) => rotated(['x', 'y', 'z'], run).join(''))).toEqual(['xyz', 'yzx', 'xyz'])
})

test('the named figures are ratios against rsync, and null where nothing was measured', () => {
  const cost = (seconds: number, rss: number) => ({
    seconds,
    withSyncSeconds: seconds,
    cpuSecondsPerGib: 12,
    wireMib: 1,
    nearRssMib: rss,
    farRssMib: 50,
    nearAnonMib: 1,
    farAnonMib: 1,
  })
  const measures = {
    initial: { ours: cost(4, 90), rsync: cost(6, 20), rsync_z: null, copy: null },
    rewrite: {
      ours: { seconds: 0.5, durableSeconds: 0.4, wireMib: 5 },
      rsync_z: { seconds: 1, wireMib: 40 },
      rsync_z_b4096: null,
    },
    lag: null,
  }
  expect(toJson(toRows(measures), measures, { wrong: [] })).toMatchObject({
    initial_sync_speed_vs_rsync: 1.5,
    rewrite_bytes_vs_rsync: 0.125,
    rewrite_bytes_vs_rsync_b4096: null,
    rewrite_time_vs_rsync: 0.5,
    lag_p50_ms: null,
    lag_p99_ms: null,
    cpu_s_per_gib: 12,
    rss_mib: 90,
    missed: ['rewrite_time_vs_rsync', 'cpu_s_per_gib'],
    unmeasured: ['rewrite_bytes_vs_rsync_b4096', 'lag_p99_ms'],
    wrong: [],
  })
})
