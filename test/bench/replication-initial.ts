import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { cpuOfEndedChildren, loopbackBytes } from './measure.ts'
import {
  clear,
  expectEqual,
  medians,
  openRigPair,
  type ReplicationRig,
  rotated,
  syncDisk,
} from './replication-rig.ts'
import { MIB, makeTree, type TreeSize } from './replication-tree.ts'

/** The first copy of a tree, and what it costs. */

export type InitialCost = {
  readonly seconds: number
  /** Until it has been written out too; of ours, until it is in place, all of it being durable before. */
  readonly withSyncSeconds: number
  readonly cpuSecondsPerGib: number
  readonly wireMib: number
  readonly nearRssMib: number
  readonly farRssMib: number
  readonly nearAnonMib: number
  readonly farAnonMib: number
}
export type InitialResult = Readonly<Record<'ours' | 'rsync' | 'rsync_z' | 'copy', InitialCost | null>>

export async function measureInitial(rig: ReplicationRig, size: TreeSize): Promise<InitialResult> {
  const primary = join(rig.directory, 'initial')
  const from = join(primary, 'state')
  rig.say(`(a) making a tree of ${size.mib} MiB: one file of half of it and ${size.files} small ones`)
  const gib = makeTree(from, size, rig.seed) / MIB / 1024
  const tools: Record<keyof InitialResult, (() => Promise<InitialCost>) | undefined> = {
    ours: () => copyByOurs(rig, primary, gib),
    rsync: rig.rival && (() => copyByRsync(rig, ['-a'], from, gib)),
    rsync_z: rig.rival && (() => copyByRsync(rig, ['-az'], from, gib)),
    copy: () => plainCopy(rig, from, gib),
  }
  const names = (Object.keys(tools) as (keyof InitialResult)[]).filter((name) => tools[name])
  const costs: Record<keyof InitialResult, InitialCost[]> = { ours: [], rsync: [], rsync_z: [], copy: [] }
  for (let run = 0; run < rig.runs; run += 1)
    for (const name of rotated(names, run)) {
      const cost = await tools[name]?.()
      if (!cost) continue
      costs[name].push(cost)
      rig.say(
        `(a) ${run + 1}/${rig.runs} ${name}: ${cost.seconds.toFixed(2)} s, ${cost.withSyncSeconds.toFixed(2)} s with sync, ${cost.cpuSecondsPerGib.toFixed(1)} CPU-s/GiB, ${cost.wireMib.toFixed(0)} MiB, RSS ${cost.nearRssMib.toFixed(0)} and ${cost.farRssMib.toFixed(0)} MiB`,
      )
    }
  clear(rig, 'initial')
  clear(rig, 'initial-copies')
  return {
    ours: medians(costs.ours),
    rsync: medians(costs.rsync),
    rsync_z: medians(costs.rsync_z),
    copy: medians(costs.copy),
  }
}

async function copyByOurs(rig: ReplicationRig, primary: string, gib: number): Promise<InitialCost> {
  const pair = await openRigPair(rig, primary, freshTarget(rig))
  const wire = loopbackBytes()
  const cpu = await pair.cpuSeconds()
  const start = Number(process.hrtime.bigint()) / 1e6
  const whole = await pair.follow()
  const { done } = await pair.replica.finish()
  const cpuSecondsPerGib = ((await pair.cpuSeconds()) - cpu) / gib
  const wireMib = (loopbackBytes() - wire) / MIB
  const memory = await pair.close()
  expectEqual(rig, '(a) ours', pair.from, pair.to)
  return {
    seconds: (whole - start) / 1000,
    withSyncSeconds: (done - start) / 1000,
    cpuSecondsPerGib,
    wireMib,
    nearRssMib: memory.primary.rssMib,
    farRssMib: memory.replica.rssMib,
    nearAnonMib: memory.primary.anonMib,
    farAnonMib: memory.replica.anonMib,
  }
}

async function copyByRsync(
  rig: ReplicationRig,
  args: readonly string[],
  from: string,
  gib: number,
): Promise<InitialCost> {
  const to = freshTarget(rig)
  mkdirSync(to)
  const wire = loopbackBytes()
  const cost = await (rig.rival as NonNullable<typeof rig.rival>).rsync(args, from, to)
  const wireMib = (loopbackBytes() - wire) / MIB
  const syncSeconds = syncDisk(to)
  expectEqual(rig, `(a) rsync ${args.join(' ')}`, from, to)
  return {
    seconds: cost.seconds,
    withSyncSeconds: cost.seconds + syncSeconds,
    cpuSecondsPerGib: cost.cpuSeconds / gib,
    wireMib,
    nearRssMib: cost.near.rssMib,
    farRssMib: cost.far.rssMib,
    nearAnonMib: cost.near.anonMib,
    farAnonMib: cost.far.anonMib,
  }
}

let targets = 0

/**
 * A directory that was never there. Nothing is removed before the last run: ext4 looks for minutes at every inode that
 * was freed lately before it makes a new one, which would be measured instead.
 */
function freshTarget(rig: ReplicationRig): string {
  targets += 1
  const copies = join(rig.directory, 'initial-copies')
  mkdirSync(copies, { recursive: true })
  return join(copies, String(targets))
}

/** What the disk and the page cache can do at all. */
async function plainCopy(rig: ReplicationRig, from: string, gib: number): Promise<InitialCost> {
  const to = freshTarget(rig)
  const cpu = cpuOfEndedChildren('self')
  const start = performance.now()
  execFileSync('cp', ['-a', from, to])
  const seconds = (performance.now() - start) / 1000
  const cpuSecondsPerGib = (cpuOfEndedChildren('self') - cpu) / gib
  const withSyncSeconds = seconds + syncDisk(to)
  const none = { wireMib: 0, nearRssMib: 0, farRssMib: 0, nearAnonMib: 0, farAnonMib: 0 }
  return { seconds, withSyncSeconds, cpuSecondsPerGib, ...none }
}
