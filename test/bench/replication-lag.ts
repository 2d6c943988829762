import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { percentile } from './bench.ts'
import { type Lags, prepareProbe, probeLag } from './lag-probe.ts'
import { clear, expectEqual, openRigPair, type ReplicationRig } from './replication-rig.ts'
import { firstDifference } from './replication-tree.ts'

/** How long a small write takes to be visible in the copy, with many of them. */

export interface LagFigures {
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
  readonly written: number
  readonly unseen: number
}
export interface LagResult {
  readonly ours: LagFigures | null
  /** Ours, age of the oldest write that the primary does not know to be durable over there, looked at every 10 ms. */
  readonly durable: { readonly p50: number; readonly p99: number } | null
  /** Ours, both ends: percent of a core. */
  readonly cpuPercent: number | null
  readonly rsync_loop: LagFigures | null
  readonly lsyncd: LagFigures | null
}

type Load = { readonly seconds: number; readonly rate: number }

export async function measureLag(rig: ReplicationRig, load: Load): Promise<LagResult> {
  const ours = await lagOfOurs(rig, load)
  const loop = rig.rival ? await lagOfLoop(rig, load) : null
  const lsyncd = rig.rival && rig.hasLsyncd ? await lagOfLsyncd(rig, load) : null
  clear(rig, 'lag')
  return { ...ours, rsync_loop: loop, lsyncd }
}

async function lagOfOurs(rig: ReplicationRig, load: Load) {
  const base = clear(rig, 'lag')
  prepareProbe(join(base, 'primary/state'))
  const pair = await openRigPair(rig, join(base, 'primary'), join(base, 'replica'))
  try {
    await pair.follow()
    await becomesEqual(rig, pair.from, pair.to)
    await pair.primary.watchLag()
    const [cpu, start] = [await pair.cpuSeconds(), performance.now()]
    const lags = await probeLag(pair.from, pair.to, load)
    const cpuPercent = (((await pair.cpuSeconds()) - cpu) / (performance.now() - start)) * 100_000
    const behind = await pair.primary.lags()
    await pair.primary.seal()
    await pair.replica.finish()
    expectEqual(rig, '(c) ours', pair.from, pair.to)
    const figures = toFigures(lags)
    report(rig, 'ours', figures)
    return {
      ours: figures,
      durable: { p50: percentile(behind, 50), p99: percentile(behind, 99) },
      cpuPercent,
    }
  } finally {
    await pair.close()
  }
}

/**
 * One run after the other, over one connection. Without the window rsync takes a file for unchanged whose size and
 * second are the same.
 */
async function lagOfLoop(rig: ReplicationRig, load: Load): Promise<LagFigures> {
  const [from, to] = places(rig)
  const rival = rig.rival as NonNullable<typeof rig.rival>
  const copy = () => rival.rsyncAgain(['-a', '--inplace', '--modify-window=-1'], from, to)
  await copy()
  let ended = false
  const loop = (async () => {
    while (!ended) await copy()
  })()
  const lags = await Promise.race([
    probeLag(from, to, load),
    loop.then(() => Promise.reject(new Error('the loop has ended'))),
  ])
  ended = true
  await loop
  await copy()
  expectEqual(rig, '(c) rsync loop', from, to)
  const figures = toFigures(lags)
  report(rig, 'rsync in a loop', figures)
  return figures
}

async function lagOfLsyncd(rig: ReplicationRig, load: Load): Promise<LagFigures> {
  const [from, to] = places(rig)
  const stop = await (rig.rival as NonNullable<typeof rig.rival>).lsyncd(from, to, join(rig.directory, 'lag'))
  try {
    await becomesEqual(rig, from, to)
    const figures = toFigures(await probeLag(from, to, load))
    report(rig, 'lsyncd', figures)
    return figures
  } finally {
    await stop()
  }
}

function places(rig: ReplicationRig): readonly [string, string] {
  const base = clear(rig, 'lag')
  const [from, to] = [join(base, 'from'), join(base, 'to')]
  prepareProbe(from)
  mkdirSync(to)
  return [from, to]
}

/** The first copy is over. */
async function becomesEqual(rig: ReplicationRig, from: string, to: string): Promise<void> {
  const deadline = performance.now() + 30_000
  while (firstDifference(from, to) !== undefined && performance.now() < deadline) await sleep(50)
  expectEqual(rig, '(c) first copy', from, to)
}

const toFigures = ({ lags, written, unseen }: Lags): LagFigures => ({
  p50: percentile(lags, 50),
  p95: percentile(lags, 95),
  p99: percentile(lags, 99),
  max: percentile(lags, 100),
  written,
  unseen,
})

const report = (
  rig: ReplicationRig,
  name: string,
  { p50, p95, p99, max, unseen, written }: LagFigures,
): void =>
  rig.say(
    `(c) ${name}: p50 ${p50.toFixed(1)}, p95 ${p95.toFixed(1)}, p99 ${p99.toFixed(1)}, max ${max.toFixed(1)} ms; ${unseen} of ${written} never seen`,
  )
