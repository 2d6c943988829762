import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Bench, BenchResult, Given } from './bench.ts'
import { hasOwnNetwork, moveToOwnNetwork } from './own-network.ts'
import { measureInitial } from './replication-initial.ts'
import { measureLag } from './replication-lag.ts'
import { bundleEnd } from './replication-pair.ts'
import { type ReplicationMeasures, toJson, toRows, toTable } from './replication-report.ts'
import { measureRewrite } from './replication-rewrite.ts'
import type { ReplicationRig } from './replication-rig.ts'
import { installRivals } from './replication-setup.ts'
import { missingPrograms, openRival } from './rsync.ts'

/**
 * Two ends of the state stream in processes of their own, side by side with rsync over ssh and lsyncd, on loopback and
 * one disk.
 */
export const bench: Bench = {
  summary: 'How fast state is copied and kept equal, what that costs, and the same with rsync and lsyncd',
  options: {
    size: { value: 1024, doc: 'MiB of the tree of (a), and of the file of (b)' },
    files: { value: 20_000, doc: 'small files in the tree of (a)' },
    runs: { value: 5, doc: 'runs of (a) and (b), of which the medians count' },
    seconds: { value: 60, doc: 'seconds of (c), for each tool' },
    rate: { value: 1000, doc: 'records per second of (c)' },
    seed: { value: 1, doc: 'seed of what is in the files' },
  },
  texts: {
    only: { value: 'a,b,c', doc: 'parts: a first copy, b rewrite, c lag; (d) comes with a' },
    dir: {
      value: '',
      doc: 'where to work, on the disk to be measured (default: a new directory in the temporary one)',
    },
  },
  switches: {
    setup: 'installs rsync, lsyncd and ssh first (root and apt-get)',
    alone: 'leaves rsync and lsyncd out',
    keep: 'leaves the directory behind',
    profile: 'writes CPU profiles of both ends; slower, so no figures to compare',
  },
  run: measure,
}

async function measure(
  options: Readonly<Record<string, number>>,
  progress: (line: string) => void,
  { texts, switches }: Given,
): Promise<BenchResult> {
  const { size = 0, files = 0, runs = 0, seconds = 0, rate = 0, seed = 0 } = options
  const parts = parseParts(texts.only ?? '')
  if (switches.setup) installRivals(progress)
  moveToOwnNetwork()
  if (!hasOwnNetwork())
    progress(
      'bytes on the wire: this machine does not give the bench a network of its own, so others on loopback count too',
    )
  const directory = openDirectory(texts.dir ?? '')
  const missing = switches.alone ? ['rsync'] : missingPrograms()
  if (missing.length > 0)
    progress(
      `${switches.alone ? '--alone' : `${missing.join(', ')} missing`}: ratios without them are null (--setup installs them)`,
    )
  const isKept = switches.keep || switches.profile
  // Also where a signal ends it.
  if (!isKept) process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))
  const profiles = switches.profile ? join(directory, 'profiles') : undefined
  const wrong: string[] = []
  const canCompare = missing.every((name) => name === 'lsyncd')
  const rival = canCompare ? await openRival(join(directory, 'ssh')) : undefined
  try {
    const program = await bundleEnd(join(directory, 'program'))
    const rig: ReplicationRig = {
      directory,
      program,
      profiles,
      rival,
      hasLsyncd: missing.length === 0,
      seed,
      runs,
      say: progress,
      wrong(what) {
        wrong.push(what)
        progress(`WRONG COPY: ${what}`)
      },
    }
    const load = loadavg()
    const measures: ReplicationMeasures = {
      initial: parts.has('a') ? await measureInitial(rig, { mib: size, files }) : null,
      rewrite: parts.has('b') ? await measureRewrite(rig, size) : null,
      lag: parts.has('c') ? await measureLag(rig, { seconds, rate }) : null,
    }
    const rows = toRows(measures)
    const table = [toTable(rows, measures), ...wrong.map((what) => `WRONG COPY: ${what}`)].join('\n')
    const json = toJson(rows, measures, {
      wrong,
      missing,
      options,
      loadavg: load,
      ownNetwork: hasOwnNetwork(),
    })
    return { table, json, ok: wrong.length === 0 }
  } finally {
    await rival?.close()
    if (profiles) progress(`CPU profiles: ${profiles}`)
    if (isKept) progress(`left behind: ${directory}`)
  }
}

function parseParts(text: string): ReadonlySet<string> {
  const parts = text.split(',').filter(Boolean)
  const unknown = parts.find((part) => !['a', 'b', 'c'].includes(part))
  if (unknown !== undefined || parts.length === 0)
    throw new Error(`--only is ${JSON.stringify(text)}: it must be some of a, b and c, with commas between`)
  return new Set(parts)
}

/** Always a new directory, so that nothing that was there before is removed at the end. */
function openDirectory(given: string): string {
  const parent = given === '' ? tmpdir() : resolve(given)
  mkdirSync(parent, { recursive: true })
  return mkdtempSync(join(parent, 'understudy-bench-'))
}
