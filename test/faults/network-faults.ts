import { join } from 'node:path'
import type { Fault } from './fault.ts'
import type { Conditions } from './gate.ts'
import { COORDINATOR } from './network.ts'
import { writeNoise } from './plant.ts'
import { residentMib } from './processes.ts'
import { ms, type Scene, settle, told } from './scene.ts'

/** Lines between primary (P), standby (S) and coordinator (C) break, in one direction or both, or become bad. */

const CUT: Conditions = { state: 'cut' }
const HELD: Conditions = { state: 'held' }

/** The primary cannot be heard by anybody: it fences itself, the standby takes over, and later it follows. */
async function isolated(scene: Scene, how: Conditions): Promise<string> {
  const { primary, standby, network } = scene
  network.between(primary.instance, [standby.instance, COORDINATOR], how)
  scene.strike()
  const fenced = scene.silent(primary)
  const after = await scene.runs(standby)
  const silent = await fenced
  scene.check(silent <= after, `the old primary ran until ${ms(silent)}, the standby from ${ms(after)}`)
  await scene.serves(standby)
  const incident = await scene.incident()
  network.heal()
  await follows(scene)
  return `the primary stood still after ${ms(silent)}, the standby ran after ${ms(after)}; ${told(incident)}; healed, the old primary follows`
}

async function follows(scene: Scene, member = scene.primary): Promise<void> {
  await scene.until(`${member.instance} follows`, async () => {
    const replica = await scene.replicaOf(member).catch(() => undefined)
    return replica?.status === 'ready'
  })
}

/** Whatever becomes of it: one runs, and in the end both are there again. */
async function converges(scene: Scene): Promise<string> {
  scene.network.heal()
  await scene.fleet.untilProtected(scene.id)
  const incidents = await scene.incidents()
  return incidents.length === 0 ? 'nobody moved' : incidents.map(told).join('; ')
}

async function unmoved(scene: Scene, forMillis: number): Promise<void> {
  for (const ends = performance.now() + forMillis; performance.now() < ends; await settle(100))
    scene.check(scene.standby.workload().length === 0, 'the standby runs the workload')
  scene.check(await scene.primary.answers(), 'the primary does not answer')
}

export const networkFaults: readonly Fault[] = [
  {
    id: 18,
    title: 'P cannot reach S and C',
    inject: 'both lines of the primary are cut, for as long as it takes',
    expected: 'P fences itself before S runs; healed, it follows; the loss is told.',
    loss: 'reported',
    run: (scene) => isolated(scene, CUT),
  },
  {
    id: 19,
    title: 'S cannot reach P and C',
    inject: 'both lines of the standby are cut for 3 s',
    expected: 'P goes on, S does not win; healed, S follows again.',
    async run(scene) {
      const { standby, primary, network } = scene
      network.between(standby.instance, [primary.instance, COORDINATOR], CUT)
      await unmoved(scene, 3000)
      network.heal()
      await follows(scene, standby)
      await scene.calm(200)
      return 'the primary answered all the time; the standby was ready again after the network was'
    },
  },
  {
    id: 20,
    title: 'C cannot reach P and S',
    inject: 'the lines of both to the coordinator are cut for 3 s',
    expected: 'Nothing happens: P keeps its lease through S.',
    async run(scene) {
      scene.network.between(COORDINATOR, [scene.primary.instance, scene.standby.instance], CUT)
      await unmoved(scene, 3000)
      scene.check(!scene.field.isSilent(scene.primary), 'the workload of the primary stands still')
      scene.network.heal()
      await scene.fleet.untilProtected(scene.id)
      await scene.calm(200)
      return 'the primary ran all the time, no incident'
    },
  },
  {
    id: 21,
    slow: true,
    title: 'P to S is lost, S to P is not, and the other way round',
    inject: '2 s each: what one says is dropped silently, what the other says arrives',
    expected: 'Never two; in the end one primary and a standby that follows.',
    async run(scene) {
      const { primary, standby, network } = scene
      network.line(primary.instance, standby.instance, HELD)
      await settle(2000)
      network.heal()
      await settle(500)
      network.line(standby.instance, primary.instance, HELD)
      await settle(2000)
      return converges(scene)
    },
  },
  {
    id: 22,
    slow: true,
    title: 'P and S cannot reach each other, both reach C',
    inject: 'the line between them is cut for 3 s',
    expected: 'P goes on through C, and the standby is shown as not ready; healed, it follows.',
    async run(scene) {
      const { primary, standby, network } = scene
      network.between(primary.instance, [standby.instance], CUT)
      let isShown = false
      for (const ends = performance.now() + 3000; performance.now() < ends; await settle(100)) {
        scene.check(standby.workload().length === 0, 'the standby runs the workload')
        const { status, lag_ms: lag } = await scene.replicaOf(standby)
        isShown ||= status !== 'ready' || (lag ?? 0) > 1000
      }
      scene.check(isShown, 'the standby was shown as ready all the time')
      scene.check(await primary.answers(), 'the primary does not answer')
      network.heal()
      await follows(scene, standby)
      return 'the primary answered, the standby was shown as behind and was ready again after the network was'
    },
  },
  {
    id: 23,
    slow: true,
    title: 'The lines of P come and go',
    inject: 'cut and open every 200 ms for 4 s, to S and to C',
    expected: 'Never two, at most three moves, and somebody serves at the end.',
    loss: 'reported',
    async run(scene) {
      const { primary, standby, network } = scene
      for (let round = 0; round < 10; round += 1) {
        network.between(primary.instance, [standby.instance, COORDINATOR], CUT)
        await settle(200)
        network.heal()
        await settle(200)
      }
      const seen = await converges(scene)
      const switches = await scene.switches()
      scene.check(switches.length <= 3, `${switches.length} moves`)
      return `${switches.length} moves; ${seen}`
    },
  },
  {
    id: 24,
    slow: true,
    title: 'Slow lines that lose packets',
    inject:
      'every line of P: 150 ms each way, 20 ms of jitter, and one part in 20 comes 200 ms later, as after a retransmission; 4 s',
    expected: 'Nobody moves, and the standby stays ready.',
    async run(scene) {
      const bad: Conditions = {
        state: 'open',
        delay: () => 150 + Math.random() * 20 + (Math.random() < 0.05 ? 200 : 0),
      }
      scene.network.between(scene.primary.instance, [scene.standby.instance, COORDINATOR], bad)
      await scene.calm(4000)
      const { status, lag_ms: lag } = await scene.replicaOf(scene.standby)
      scene.check(status === 'ready', `the standby is ${status}`)
      return `no incident in 4 s; the standby was ready, ${ms(lag ?? 0)} behind`
    },
  },
  {
    id: 25,
    slow: true,
    title: 'Little bandwidth',
    inject: '2 Mbit/s between P and S for 4 s, while 8 MiB a second are written over in place',
    expected: 'Nobody moves; the agents stay small; healed, the standby catches up.',
    async run(scene) {
      const { primary, standby, network } = scene
      network.between(primary.instance, [standby.instance], { state: 'open', bytesPerSecond: 250_000 })
      const before = residentMib(primary.agent())
      const writing = writeOver(scene, 4000)
      await scene.calm(4000)
      await writing
      const grown = residentMib(primary.agent()) - before
      scene.check(grown < 128, `the agent of the primary grew by ${grown.toFixed(0)} MiB`)
      network.heal()
      await follows(scene, standby)
      return `no incident; the agent of the primary grew by ${Math.max(0, grown).toFixed(0)} MiB; healed, the standby was ready again`
    },
  },
  {
    id: 26,
    title: 'Half-open connections',
    inject: 'everything to and from P is dropped silently: nothing is closed, nothing is reset',
    expected: 'Noticed by heartbeats: P fences itself before S runs; healed, it follows; the loss is told.',
    loss: 'reported',
    run: (scene) => isolated(scene, HELD),
  },
]

async function writeOver(scene: Scene, forMillis: number): Promise<void> {
  const file = join(scene.primary.state, 'written-over')
  for (const ends = performance.now() + forMillis; performance.now() < ends; await settle(500))
    await writeNoise(file, 4)
}
