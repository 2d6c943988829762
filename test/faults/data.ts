import { spawn } from 'node:child_process'
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Fault } from './fault.ts'
import { keepCopy } from './kept-copy.ts'
import { plantSparse, writeNoise } from './plant.ts'
import { ms, type Scene, settle, told } from './scene.ts'

/** What the workload, or somebody behind the agent's back, does to the files. */

/** A planned move of what is there; both trees, at the freeze and at the start, are equal. */
async function movedEqual(scene: Scene, within = 40_000): Promise<string> {
  await scene.fleet.untilProtected(scene.id)
  const stop = await scene.keepTrees()
  const moved = await movedByHand(scene, within)
  stop()
  return `${moved}; ${scene.sameTrees(scene.primary, scene.standby)}`
}

async function movedByHand(scene: Scene, within = 40_000): Promise<string> {
  scene.strike()
  const { status, body } = await scene.promote(scene.standby)
  scene.check(status < 300, `the promotion was refused: ${status} ${body.detail}`)
  const incident = await scene.incident(within)
  scene.check(incident.outcome === 'promoted', `it ended as ${incident.outcome}: ${incident.outcome_reason}`)
  return told(incident)
}

/** Writers that stand still with the workload: they do one small thing, look whether it is frozen, and go on. */
async function whileRunning(scene: Scene, work: (round: number) => void, meanwhile: () => Promise<string>) {
  let goesOn = true
  const working = (async () => {
    for (let round = 0; goesOn && !scene.field.isSilent(scene.primary); round += 1) {
      work(round)
      await settle(1)
    }
  })()
  try {
    return await meanwhile()
  } finally {
    goesOn = false
    await working
  }
}

async function manyFiles(scene: Scene, count: number): Promise<void> {
  const root = join(scene.primary.state, 'burst')
  for (let index = 0; index < count; index += 1) {
    const directory = join(root, String(index % 40))
    if (index < 40) mkdirSync(directory, { recursive: true })
    const file = join(directory, `f${index}`)
    writeFileSync(file, `number ${index}`)
    if (index % 3 === 0) renameSync(file, `${file}.renamed`)
    else if (index % 7 === 1) unlinkSync(file)
    // The gates of the network are in this process.
    if (index % 200 === 0) await settle(0)
  }
}

/** One small program in the state's own machine, marked as a part of the workload. */
const MMAP_WRITER = `
import mmap, sys, time
with open(sys.argv[1], 'r+b') as file:
    area = mmap.mmap(file.fileno(), 0)
    turn = 0
    end = time.time() + float(sys.argv[2])
    while time.time() < end:
        turn += 1
        area[(turn * 4099) % (len(area) - 8):][:0]
        at = (turn * 4099) % (len(area) - 8)
        area[at:at + 8] = turn.to_bytes(8, 'little')
        time.sleep(0.002)
`

function mapAndWrite(path: string, seconds: number): Promise<number | null> {
  const child = spawn('python3', ['-c', MMAP_WRITER, path, String(seconds)], { stdio: 'ignore' })
  return new Promise((resolve) => {
    child.once('error', () => resolve(null))
    child.once('exit', resolve)
  })
}

export const data: readonly Fault[] = [
  {
    id: 45,
    slow: true,
    title: 'Bytes on the standby are changed behind its agent',
    inject:
      'a file of the copy is written over and another removed while its agent is down; when both disks have been compared, a planned move',
    expected:
      'The comparison of both disks finds it and heals it; after the move the trees are equal. (The seal alone compares what both ends know of their trees.)',
    async run(scene) {
      const { primary, standby } = scene
      scene.cloud.crash(standby.instance)
      await scene.until('its agent has ended', () => !standby.hasAgent())
      const planted = join(standby.state, 'planted/a')
      const bytes = readFileSync(join(planted, 'plain'))
      bytes[100] = (bytes[100] ?? 0) ^ 0xff
      writeFileSync(join(planted, 'plain'), bytes)
      rmSync(join(planted, 'b/tool'))
      await scene.cloud.reboot(standby.instance)
      await scene.fleet.untilProtected(scene.id)
      const before = performance.now()
      await scene.convergesTo(primary, standby)
      const healed = performance.now() - before
      return `healed ${ms(healed)} after the standby was ready; ${await movedEqual(scene)}`
    },
  },
  {
    id: 48,
    slow: true,
    title: 'More events than any watcher holds',
    inject: '4,000 files are created, renamed and removed in one go, then a planned move',
    expected: 'The scan finds all of them: the trees are equal.',
    async run(scene) {
      await manyFiles(scene, 4000)
      return movedEqual(scene)
    },
  },
  {
    id: 48,
    slow: true,
    title: 'Many more events than any watcher holds',
    inject: '10,000 files are created, renamed and removed in one go, then a planned move',
    expected: 'As above.',
    async run(scene) {
      await manyFiles(scene, 10_000)
      return movedEqual(scene, 90_000)
    },
  },
  {
    id: 49,
    title: 'Writers that leave few traces',
    inject:
      'a memory map is written into, one of two hard links is written to, bytes change in place with the old time put back; then a planned move',
    expected: 'Found by size, time of change and content: the trees are equal.',
    async run(scene) {
      const root = join(scene.primary.state, 'sly')
      mkdirSync(root, { recursive: true })
      await writeNoise(join(root, 'mapped'), 1)
      writeFileSync(join(root, 'one'), 'first content')
      if (!existsSync(join(root, 'other'))) linkSync(join(root, 'one'), join(root, 'other'))
      await settle(600)
      const mapped = mapAndWrite(join(root, 'mapped'), 1)
      appendFileSync(join(root, 'other'), ' and more through the other name')
      const code = await mapped
      const seen = await movedEqual(scene)
      return code === 0 ? seen : `without the memory map, for want of python3; ${seen}`
    },
  },
  {
    id: 50,
    slow: true,
    title: 'Files are replaced and truncated while they are read',
    inject:
      'a file of 4 MiB is replaced by rename, one is cut to nothing and written again, a log is copied and truncated, all the time until the freeze of a planned move',
    expected: 'Never a mixture: the trees are equal.',
    async run(scene) {
      const root = join(scene.primary.state, 'restless')
      mkdirSync(root, { recursive: true })
      const [whole, cut, log] = ['whole', 'cut', 'log'].map((name) => join(root, name)) as [
        string,
        string,
        string,
      ]
      await writeNoise(whole, 4)
      await writeNoise(cut, 4)
      writeFileSync(log, '')
      return whileRunning(
        scene,
        (round) => {
          const kind = round % 3
          if (kind === 0) {
            writeFileSync(`${whole}.new`, Buffer.alloc(2 * 1024 * 1024, round))
            renameSync(`${whole}.new`, whole)
          } else if (kind === 1) {
            truncateSync(cut, 0)
            writeFileSync(cut, Buffer.alloc(1024 * 1024, round))
          } else {
            appendFileSync(log, `${'line '.repeat(1000)}${round}\n`)
            if (round % 30 === 2) {
              copyFileSync(log, `${log}.1`)
              truncateSync(log, 0)
            }
          }
        },
        async () => {
          await settle(1000)
          await scene.promote(scene.standby)
          const incident = await scene.incident()
          await scene.until('the old primary follows', async () => {
            const replica = await scene.replicaOf(scene.primary).catch(() => undefined)
            return replica?.status === 'ready'
          })
          return `${told(incident)}; ${await scene.convergesTo(scene.standby, scene.primary)}`
        },
      )
    },
  },
  {
    id: 51,
    slow: true,
    title: 'Trees that are large in one way or another',
    inject:
      '3,000 small files, a file of 16 GiB that is a hole, 30 levels of directories, a name that is no UTF-8; then a planned move',
    expected: 'It completes, holes stay holes, names stay as they are, the trees are equal.',
    async run(scene) {
      await large(scene, 3000)
      plantSparse(join(scene.primary.state, 'huge'), 16 * 1024 ** 3)
      await scene.fleet.untilProtected(scene.id)
      const compare = await keepCopy(scene)
      const moved = await movedByHand(scene)
      const equal = await compare(scene.standby)
      const { blocks } = statSync(join(scene.standby.state, 'huge'))
      scene.check(blocks * 512 < 1024 * 1024, `the hole takes ${blocks * 512} bytes on the standby`)
      return `${moved}; ${equal}; the hole takes ${blocks / 2} KiB`
    },
  },
  {
    id: 52,
    slow: true,
    title: 'A directory of the copy is swapped for a symbolic link',
    inject:
      'on the standby a directory becomes a link to one outside, then the primary writes into it; hostile streams of every kind are in the named tests',
    expected:
      'Nothing is written outside. The move is right or is called off: the workload never runs on a tree that differs.',
    proof: {
      why: 'no process of ours sends such streams',
      tests: [
        [
          'agent/src/replication/hostile-stream.test.ts',
          'nothing is written below a symlink that came in the stream',
        ],
        [
          'agent/src/replication/hostile-stream.test.ts',
          'sockets, pipes and devices are not replicated, and what they replace is removed',
        ],
        [
          'agent/src/replication/store.test.ts',
          'nothing is written through a symlink that somebody put in the way',
        ],
      ],
    },
    async run(scene) {
      const outside = join(scene.standby.directory, 'outside')
      mkdirSync(outside, { recursive: true })
      writeFileSync(join(outside, 'victim'), 'untouched')
      const target = join(scene.standby.state, 'planted/a/b')
      renameSync(target, join(scene.standby.directory, 'put-aside'))
      symlinkSync(outside, target)
      const [written, victim] = ['new-file', 'victim'].map((name) =>
        join(scene.primary.state, 'planted/a/b', name),
      )
      writeFileSync(written ?? '', 'for the standby')
      writeFileSync(victim ?? '', 'overwritten')
      await settle(1000)
      const stop = await scene.keepTrees()
      await scene.promote(scene.standby)
      const incident = await scene.incident()
      stop()
      scene.check(readFileSync(join(outside, 'victim'), 'utf8') === 'untouched', 'a file outside was written')
      scene.check(!existsSync(join(outside, 'new-file')), 'a file outside was made')
      if (incident.outcome === 'promoted')
        return `nothing outside was touched; ${scene.sameTrees(scene.primary, scene.standby)}`
      await scene.serves(scene.primary)
      // Its copy is beyond repair by itself: the next one begins anew.
      const { id } = await scene.replicaOf(scene.standby)
      await scene.call('DELETE', `/api/agents/${scene.id}/replicas/${id}`)
      return `nothing outside was touched; ${told(incident)}: ${incident.outcome_reason}`
    },
  },
]

/** Asynchronous, because this process is the network too. */
async function large(scene: Scene, files: number): Promise<void> {
  const root = join(scene.primary.state, 'many')
  for (let index = 0; index < files; index += 1) {
    const directory = join(root, `d${index % 50}`)
    if (index < 50) await mkdir(directory, { recursive: true })
    await writeFile(join(directory, `f${index}`), `${index}`.repeat(1 + (index % 50)))
  }
}
