import type { Fault } from './fault.ts'
import type { Inside } from './inside.ts'
import { send } from './processes.ts'
import { ms, type Scene, settle, told } from './scene.ts'

/** Clocks jump or drift, and processes get no time. */

const HOUR = 3_600_000

/** Pauses a whole instance and lets it go on, as a hypervisor does. */
async function pause(scene: Scene, forMillis: number): Promise<void> {
  scene.cloud.pause(scene.primary.instance)
  await settle(forMillis)
  scene.cloud.resume(scene.primary.instance)
}

/** Whether the standby took over or nobody moved: in the end there is one, and a standby. */
async function howItEnded(scene: Scene): Promise<string> {
  await scene.fleet.untilProtected(scene.id)
  const incidents = await scene.incidents()
  return incidents.length === 0 ? 'nobody moved' : incidents.map(told).join('; ')
}

/** A share of one per cent of a processor: 2 ms of 200. */
async function starve(pid: number, forMillis: number): Promise<void> {
  for (const ends = performance.now() + forMillis; performance.now() < ends; ) {
    send(pid, 'SIGSTOP')
    await settle(198)
    send(pid, 'SIGCONT')
    await settle(2)
  }
}

const everywhere = (scene: Scene, wanted: Inside): void => {
  for (const member of scene.members()) if (member.hasAgent()) member.inside(wanted)
  scene.field.coordinator.inside(wanted)
}

export const clocks: readonly Fault[] = [
  {
    id: 5,
    title: 'The whole instance of the primary is paused',
    inject: 'SIGSTOP to all of its processes for 4 s, the guard too, then SIGCONT',
    expected:
      'The standby takes over; the resumed workload is ended before it answers through the address; the loss is told. It may run for less than 250 ms: no lease can prevent that.',
    loss: 'reported',
    async run(scene) {
      await pause(scene, 4000)
      const resumed = performance.now()
      await scene.until('the resumed workload stands still', () => scene.field.isSilent(scene.primary), 5000)
      const ran = performance.now() - resumed
      await scene.serves(scene.standby)
      const incident = await scene.incident()
      scene.forgive(250)
      return `${told(incident)}; the resumed workload stood still ${ms(ran)} after it`
    },
  },
  {
    id: 6,
    title: 'A pause shorter than half of the lease',
    inject: 'SIGSTOP to the whole instance of the primary for 300 ms, twice',
    expected: 'Nobody moves.',
    async run(scene) {
      for (let round = 0; round < 2; round += 1) {
        await pause(scene, 300)
        await settle(700)
      }
      await scene.calm(1000)
      return 'nobody moved, no incident'
    },
  },
  {
    id: 27,
    title: 'Wall clocks jump',
    inject:
      'an hour forward on P, an hour back on S, back and forth every 100 ms on C, then all of it the other way round; 1 s each',
    expected: 'No effect: nobody moves.',
    async run(scene) {
      const { primary, standby, field } = scene
      primary.inside({ wall: HOUR })
      standby.inside({ wall: -HOUR })
      field.coordinator.inside({ wall: HOUR, strobe: 100 })
      await scene.calm(1000)
      primary.inside({ wall: -HOUR })
      standby.inside({ wall: HOUR, strobe: 100 })
      field.coordinator.inside({ wall: -HOUR })
      await scene.calm(1000)
      everywhere(scene, {})
      await scene.calm(500)
      return 'nobody moved, no incident'
    },
  },
  {
    id: 28,
    slow: true,
    title: 'Clocks drift',
    inject: 'all clocks of P lose 5 %, then those of S gain 5 %; 3 s each, then the lines of P are cut',
    expected: 'Nobody moves for the drift; with the lines cut, never two; the loss is told.',
    loss: 'reported',
    async run(scene) {
      const { primary, standby, network } = scene
      primary.inside({ rate: 0.95 })
      await scene.calm(3000)
      standby.inside({ rate: 1.05 })
      await scene.calm(3000)
      network.between(primary.instance, [standby.instance, 'coordinator'], { state: 'cut' })
      scene.strike()
      const fenced = scene.silent(primary)
      const after = await scene.runs(standby)
      const silent = await fenced
      scene.check(silent <= after, `the old primary ran until ${ms(silent)}, the standby from ${ms(after)}`)
      network.heal()
      return `6 s without a move; then P stood still after ${ms(silent)}, S ran after ${ms(after)}; ${await howItEnded(scene)}`
    },
  },
  {
    id: 29,
    title: 'The main thread of the agent is blocked',
    inject: 'the event loop of the agent of the primary stands still for 3 s',
    expected: 'The lease is renewed by its own thread, or the workload is ended in time; never two.',
    loss: 'reported',
    async run(scene) {
      scene.primary.inside({ act: { block: 3000 } })
      await settle(3500)
      return howItEnded(scene)
    },
  },
  {
    id: 29,
    slow: true,
    title: 'The agent gets one per cent of a processor',
    inject: 'the agent of the primary runs 2 ms of every 200 for 4 s',
    expected: 'The lease is renewed, or the workload is ended in time; never two.',
    loss: 'reported',
    async run(scene) {
      await starve(scene.primary.agent(), 4000)
      return howItEnded(scene)
    },
  },
]
