import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { canMount, mountSmallDisk, unmountDisk } from '../../agent/src/replication/small-disk.ts'
import type { Fault } from './fault.ts'
import type { Member } from './member.ts'
import { movedTo } from './notices.ts'
import { writeNoise } from './plant.ts'
import { type Scene, settle, told } from './scene.ts'

/** Disks are full, lose what was written, or give back something else. */

const SMALL_MIB = 48

/** The next machine that boots gets a disk of this size; returns the way to let it go. */
function onSmallDisk(scene: Scene): () => void {
  const mounted: string[] = []
  scene.field.onBoot(({ directory }) => {
    if (mounted.length > 0) return
    mountSmallDisk(directory, SMALL_MIB)
    mounted.push(directory)
  })
  scene.atEnd(() => {
    for (const directory of mounted) unmountDisk(directory)
  })
  return () => scene.field.onBoot(undefined)
}

function fill(directory: string): void {
  const { bavail, bsize } = statfsSync(directory)
  const file = join(directory, 'filler')
  try {
    writeFileSync(file, Buffer.alloc(bavail * bsize, 1))
  } catch {
    // That is what full means.
  }
}

async function smallStandby(scene: Scene): Promise<Member> {
  const stop = onSmallDisk(scene)
  const small = await scene.addStandby()
  stop()
  return small
}

/** The agent is not running: every file of its own that is not a key or a list of peers gets one other bit. */
function flipBits(directory: string, only: RegExp): readonly string[] {
  const flipped: string[] = []
  for (const name of readdirSync(directory)) {
    const path = join(directory, name)
    if (!only.test(name) || !statSync(path).isFile() || statSync(path).size === 0) continue
    const bytes = readFileSync(path)
    const at = Math.floor(bytes.length / 2)
    bytes[at] = (bytes[at] ?? 0) ^ 0x04
    writeFileSync(path, bytes)
    flipped.push(name)
  }
  return flipped
}

async function follows(scene: Scene, member: Member): Promise<void> {
  await scene.until(`${member.instance} follows`, async () => {
    const replica = await scene.replicaOf(member).catch(() => undefined)
    return replica?.status === 'ready'
  })
}

async function restarted(scene: Scene, member: Member, between: () => void): Promise<void> {
  scene.cloud.crash(member.instance)
  await scene.until('its agent has ended', () => !member.hasAgent())
  between()
  await scene.cloud.reboot(member.instance)
}

const faults: readonly Fault[] = [
  {
    id: 31,
    slow: true,
    title: 'The disk of the standby is full',
    inject: `a second standby has ${SMALL_MIB} MiB, the state grows to more; then a notice`,
    expected:
      'It is shown with what to do and never promoted; the primary goes on; the notice moves to the other standby.',
    async run(scene) {
      const small = await smallStandby(scene)
      scene.strike()
      for (let part = 0; part < 3; part += 1) {
        await writeNoise(join(scene.primary.state, `growth-${part}`), 12)
        await settle(200)
      }
      let failure = ''
      await scene.until('the standby says that its disk is full', async () => {
        const replica = await scene.replicaOf(small)
        failure = replica.failure ?? ''
        return replica.status !== 'ready' && /no space left/.test(failure)
      })
      scene.check(await scene.primary.answers(), 'the primary does not answer')
      await follows(scene, scene.standby)
      scene.notice(scene.primary)
      return `"${failure.slice(0, 120)}"; ${await movedTo(scene)}`
    },
  },
  {
    id: 32,
    slow: true,
    title: 'The disk of the primary is full',
    inject: `the workload moves to an instance with ${SMALL_MIB} MiB, which is filled to the last byte; then a notice`,
    expected: 'The workload sees its errors, the agent goes on, and the notice moves without loss.',
    async run(scene) {
      const small = await smallStandby(scene)
      await scene.promote(small)
      await scene.serves(small)
      await scene.until('there is a standby with room', async () => {
        const { replicas } = await scene.view()
        return replicas.some(({ status }) => status === 'ready')
      })
      scene.strike()
      fill(small.directory)
      await settle(1500)
      const known = (await scene.incidents()).length
      scene.notice(small, 30_000)
      await scene.until('the move has ended', async () => {
        const incidents = await scene.incidents()
        return incidents.length > known && incidents.every(({ closed_at: closed }) => closed !== null)
      })
      const incident = (await scene.incidents()).find(({ trigger }) => trigger === 'notice')
      scene.check(
        incident?.outcome === 'promoted',
        `it ended as ${incident?.outcome}: ${incident?.outcome_reason}`,
      )
      return incident ? told(incident) : ''
    },
  },
  {
    id: 33,
    title: 'A file of the state gives a read error at the flush',
    inject:
      'a file that no replica has yet gives EIO to every read of the agent (inside of its process; a bad disk needs a device mapper), then a notice',
    expected:
      'The move goes on; the name is told as missing, and is never there as zeros. Everything acknowledged is there.',
    async run(scene) {
      const { primary, standby } = scene
      primary.inside({ badBlock: 'bad-block' })
      await settle(200)
      await writeNoise(join(primary.state, 'bad-block'), 1)
      scene.strike()
      scene.notice(primary)
      const incident = await scene.incident(40_000)
      scene.check(
        incident.outcome === 'promoted',
        `it ended as ${incident.outcome}: ${incident.outcome_reason}`,
      )
      scene.check(incident.loss?.kind === 'bounded', `the loss is told as ${incident.loss?.kind}`)
      const file = join(standby.state, 'bad-block')
      const there = existsSync(file) ? readFileSync(file) : Buffer.alloc(0)
      scene.check(
        there.length === 0,
        `the standby has ${there.length} bytes of it, ${there.filter((byte) => byte === 0).length} of them zeros`,
      )
      return `${told(incident)}: "${incident.loss?.sentence}"; nothing of it is on the standby`
    },
  },
  {
    id: 34,
    slow: true,
    title: 'The standby crashes again and again while it takes writes',
    inject:
      'every process of the standby is killed and its machine booted, three times under load; then a planned move. The page cache stays: a loss of power is simulated in the named test',
    expected: 'It resumes from what it had; the move loses nothing and the trees are equal.',
    proof: {
      why: 'what a power cut keeps of unsynced writes is decided by a simulated disk',
      tests: [
        [
          'agent/src/replication/crash-groups.test.ts',
          'a group of several batches with a link in the last is put in place as a whole after a crash, or not at all',
        ],
      ],
    },
    async run(scene) {
      const { primary, standby } = scene
      for (let round = 0; round < 3; round += 1) {
        await writeNoise(join(primary.state, `load-${round}`), 2)
        await settle(300)
        await restarted(scene, standby, () => undefined)
        await settle(700)
      }
      await scene.fleet.untilProtected(scene.id)
      const stop = await scene.keepTrees()
      scene.strike()
      await scene.promote(standby)
      await scene.serves(standby)
      stop()
      return `${told(await scene.incident())}; ${scene.sameTrees(primary, standby)}`
    },
  },
  {
    id: 35,
    title: 'What the standby knows of its votes is damaged',
    inject: 'one bit in the middle of its vote file is turned while it is down',
    expected:
      'Its agent does not run, so that it gives no vote: it says so, and what to do. The primary goes on.',
    async run(scene) {
      const { primary, standby } = scene
      let flipped: readonly string[] = []
      await restarted(scene, standby, () => {
        flipped = flipBits(join(standby.directory, 'agent'), /vote/)
      })
      scene.check(flipped.length > 0, 'there is no vote file')
      const log = join(scene.fleet.rig.directory, 'logs', `${standby.instance}.log`)
      await scene.until('it says so', () => /vote\w*\.json cannot be read/.test(readFileSync(log, 'utf8')))
      await scene.until('its agent has ended', () => !standby.hasAgent())
      await scene.calm(1500)
      scene.check(await primary.answers(), 'the primary does not answer')
      // Nobody mends it: the next standby is a new one.
      const { id } = await scene.replicaOf(standby)
      await scene.call('DELETE', `/api/agents/${scene.id}/replicas/${id}`)
      return `${flipped.join(', ')} was refused by its checksum, the agent did not start; no incident`
    },
  },
  {
    id: 35,
    title: 'What the standby has received is damaged',
    inject: 'one bit in the middle of its journal is turned while it is down; then a planned move',
    expected:
      'It is found; what is missing is fetched again; the move loses nothing and the trees are equal.',
    proof: {
      why: 'every byte of the journal is turned there',
      tests: [
        [
          'agent/src/replication/store.test.ts',
          'a damaged byte in the journal is found and everything from there on is dropped',
        ],
      ],
    },
    async run(scene) {
      const { primary, standby } = scene
      let flipped: readonly string[] = []
      await restarted(scene, standby, () => {
        flipped = flipBits(join(standby.directory, 'agent/replication'), /journal/)
      })
      scene.check(flipped.length > 0, 'there is no journal')
      await scene.fleet.untilProtected(scene.id)
      const stop = await scene.keepTrees()
      scene.strike()
      await scene.promote(standby)
      await scene.serves(standby)
      stop()
      return `damaged: ${flipped.join(', ')}; ${told(await scene.incident())}; ${scene.sameTrees(primary, standby)}`
    },
  },
  {
    id: 47,
    slow: true,
    title: 'An agent comes back with what it knew an epoch ago',
    inject:
      'the directory of the old primary is set back to a copy from before the move, and its machine boots',
    expected: 'It is told that its epoch is over: its workload stays down, it follows.',
    async run(scene) {
      const { primary, standby } = scene
      const own = join(primary.directory, 'agent')
      const copy = `${own}.before`
      cpSync(own, copy, { recursive: true, filter: (path) => !path.endsWith('.sock') })
      await scene.promote(standby)
      await scene.serves(standby)
      await restarted(scene, primary, () => {
        rmSync(own, { recursive: true, force: true })
        cpSync(copy, own, { recursive: true })
      })
      for (const ends = performance.now() + 2500; performance.now() < ends; await settle(100))
        scene.check(scene.field.isSilent(primary), 'the old primary runs its workload')
      await follows(scene, primary)
      return 'its workload stayed down, it follows the new primary'
    },
  },
]

/** Small disks have to be mounted. */
export const disks = faults.filter(({ id }) => canMount || (id !== 31 && id !== 32))
