import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { loopbackBytes } from './measure.ts'
import type { Pair } from './replication-pair.ts'
import { clear, expectEqual, medians, openRigPair, type ReplicationRig } from './replication-rig.ts'
import { firstDifference, MIB, makePageFile, rewrite } from './replication-tree.ts'

/** One file of which 1 % is written anew as pages at random places, and 1 MiB more is appended. */

export type RewriteCost = { readonly seconds: number; readonly wireMib: number }
export type OurRewriteCost = RewriteCost & {
  /** Until all of it was durable on the replica, without the comparison of a seal. */
  readonly durableSeconds: number
}
export interface RewriteResult {
  readonly ours: OurRewriteCost | null
  readonly rsync_z: RewriteCost | null
  readonly rsync_z_b4096: RewriteCost | null
}

const VARIANTS = { rsync_z: ['-az'], rsync_z_b4096: ['-az', '-B4096', '--inplace'] } as const

export async function measureRewrite(rig: ReplicationRig, mib: number): Promise<RewriteResult> {
  const base = clear(rig, 'rewrite')
  const from = join(base, 'primary/state')
  const copies = {
    ours: join(base, 'replica/state'),
    rsync_z: join(base, 'z'),
    rsync_z_b4096: join(base, 'b'),
  }
  rig.say(`(b) making a file of ${mib} MiB and its copies`)
  mkdirSync(from, { recursive: true })
  makePageFile(join(from, 'pages.db'), mib, rig.seed)
  mkdirSync(join(base, 'replica'))
  for (const to of rig.rival ? Object.values(copies) : [copies.ours]) execFileSync('cp', ['-a', from, to])
  const costs = {
    ours: [] as OurRewriteCost[],
    rsync_z: [] as RewriteCost[],
    rsync_z_b4096: [] as RewriteCost[],
  }
  const pair = await openRigPair(rig, join(base, 'primary'), join(base, 'replica'))
  try {
    await pair.follow()
    for (let run = 0; run < rig.runs; run += 1) {
      execFileSync('sync', ['-f', base])
      costs.ours.push(await rewriteWithOurs(pair, rig.seed + run))
      if (!(await becomesEqual(pair))) expectEqual(rig, '(b) ours', pair.from, pair.to)
      for (const name of rig.rival ? (['rsync_z', 'rsync_z_b4096'] as const) : []) {
        costs[name].push(await rsyncRewrite(rig, VARIANTS[name], from, copies[name]))
        expectEqual(rig, `(b) rsync ${VARIANTS[name].join(' ')}`, from, copies[name])
      }
      const last = Object.entries(costs).flatMap(([name, all]) => {
        const cost = all.at(-1)
        return cost ? [`${name} ${cost.seconds.toFixed(3)} s ${cost.wireMib.toFixed(2)} MiB`] : []
      })
      rig.say(`(b) ${run + 1}/${rig.runs} ${last.join(', ')}`)
    }
  } finally {
    await pair.close()
  }
  clear(rig, 'rewrite')
  return {
    ours: medians(costs.ours),
    rsync_z: medians(costs.rsync_z),
    rsync_z_b4096: medians(costs.rsync_z_b4096),
  }
}

/** The stream runs while it is written, as always; counted from the last write, as a freeze would come then. */
async function rewriteWithOurs(pair: Pair, seed: number): Promise<OurRewriteCost> {
  const wire = loopbackBytes()
  rewrite(join(pair.from, 'pages.db'), seed)
  const written = Number(process.hrtime.bigint()) / 1e6
  const [durable, sealed] = await Promise.all([pair.primary.durable({ written }), pair.primary.seal()])
  return {
    seconds: (sealed.done - written) / 1000,
    durableSeconds: (durable.done - written) / 1000,
    wireMib: (loopbackBytes() - wire) / MIB,
  }
}

/** What is durable in the journal of the replica is in place soon after. */
async function becomesEqual(pair: Pair): Promise<boolean> {
  for (let tries = 0; tries < 20; tries += 1) {
    if (firstDifference(pair.from, pair.to) === undefined) return true
    await sleep(500)
  }
  return false
}

async function rsyncRewrite(
  rig: ReplicationRig,
  args: readonly string[],
  from: string,
  to: string,
): Promise<RewriteCost> {
  const wire = loopbackBytes()
  const { seconds } = await (rig.rival as NonNullable<typeof rig.rival>).rsync(args, from, to)
  return { seconds, wireMib: (loopbackBytes() - wire) / MIB }
}
