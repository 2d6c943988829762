import { copyFileSync, existsSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import type { Fault } from './fault.ts'
import { residentMib } from './processes.ts'
import { ms, type Scene, settle, told } from './scene.ts'

/** The coordinator is away, comes back, forgets, or is slow. */

async function away(scene: Scene, forMillis: number): Promise<string> {
  const { primary, field } = scene
  const before = residentMib(primary.agent())
  await field.coordinator.kill()
  scene.strike()
  let missed = 0
  const ends = performance.now() + forMillis
  while (performance.now() < ends) {
    if (!(await primary.answers())) missed += 1
    await settle(100)
  }
  scene.check(missed === 0, `the primary did not answer ${missed} times in ${ms(forMillis)}`)
  const grown = residentMib(primary.agent()) - before
  scene.check(grown < 64, `the agent grew by ${grown.toFixed(0)} MiB`)
  await field.coordinator.start()
  await scene.until('the coordinator knows the primary', async () => (await scene.view()).phase === 'steady')
  scene.check((await scene.view()).instance_id === primary.instance, 'somebody else is primary')
  scene.check((await scene.incidents()).length === 0, 'there is an incident')
  return `it answered all the time; its agent grew by ${Math.max(0, grown).toFixed(0)} MiB; no incident`
}

/** The files of the database as they are while nobody has it open. */
function copyDatabase(from: string, to: string): void {
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(from + suffix)) copyFileSync(from + suffix, to + suffix)
    else rmSync(to + suffix, { force: true })
  }
}

async function onceRecorded(scene: Scene): Promise<string> {
  await scene.serves(scene.standby, 30_000)
  const incident = await scene.incident()
  const switches = await scene.switches()
  scene.check(switches.length === 1, `${switches.length} records of one switch`)
  scene.check(
    incident.outcome === 'promoted',
    `it is recorded as ${incident.outcome}: ${incident.outcome_reason}`,
  )
  return `${told(incident)}; one record`
}

export const coordinatorFaults: readonly Fault[] = [
  {
    id: 10,
    title: 'A notice while the coordinator is away',
    inject: 'the coordinator is killed, then a notice of 20 s comes',
    expected:
      'Primary and standby move the workload between themselves without loss; later it is recorded once.',
    async run(scene) {
      await scene.field.coordinator.kill()
      scene.strike()
      scene.notice(scene.primary)
      const after = await scene.runs(scene.standby, 15_000)
      scene.check(scene.field.isSilent(scene.primary), 'the old primary runs it too')
      await scene.field.coordinator.start()
      const recorded = await onceRecorded(scene)
      // AWS still takes it back: it counts as nobody's standby.
      await scene.until('the notice of the old primary is known', async () => {
        const { replicas } = await scene.view()
        const old = replicas.find(({ instance_id: instance }) => instance === scene.primary.instance)
        return old !== undefined && (old.notice || !old.is_active)
      })
      return `the standby ran ${ms(after)} after the notice, without the coordinator; ${recorded}`
    },
  },
  {
    id: 11,
    title: 'The primary dies while the coordinator is away',
    inject: 'the coordinator is killed, then every process of the primary; after 5 s the coordinator is back',
    expected:
      'Nobody is promoted on suspicion; the standby serves once the coordinator is back, the loss is told.',
    loss: 'reported',
    async run(scene) {
      await scene.field.coordinator.kill()
      scene.strike()
      scene.cloud.crash(scene.primary.instance)
      for (const ends = performance.now() + 5000; performance.now() < ends; await settle(100))
        scene.check(scene.standby.workload().length === 0, 'the standby was promoted by itself')
      const back = performance.now()
      await scene.field.coordinator.start()
      await scene.runs(scene.standby)
      const after = performance.now() - back
      return `nobody for 5 s; the standby ran ${ms(after)} after the restart began; ${await onceRecorded(scene)}`
    },
  },
  {
    id: 12,
    slow: true,
    title: 'The coordinator is away, nothing else happens',
    inject: 'the coordinator is killed for 4 s',
    expected: 'The primary goes on as if nothing were; its agent does not grow.',
    run: (scene) => away(scene, 4000),
  },
  {
    id: 12,
    slow: true,
    title: 'The coordinator is away for long',
    inject: 'the coordinator is killed for 120 s',
    expected: 'As above.',
    run: (scene) => away(scene, 120_000),
  },
  {
    id: 13,
    slow: true,
    title: 'The coordinator ends between its vote and the answer',
    inject:
      'the primary is killed, nothing that the coordinator says reaches the standby, and it is killed when the election is over for it',
    expected: 'The standby asks again and gets the same vote; one switch.',
    loss: 'reported',
    async run(scene) {
      const { network, standby, primary, field } = scene
      network.line('coordinator', standby.instance, { state: 'held' })
      scene.cloud.crash(primary.instance)
      await settle(4500)
      await field.coordinator.kill()
      await field.coordinator.start()
      network.heal()
      const after = await scene.runs(standby)
      return `the standby ran ${ms(after)} after the death; ${await onceRecorded(scene)}`
    },
  },
  {
    id: 14,
    slow: true,
    title: 'The coordinator ends between the promotion and its record',
    inject: 'the primary is killed; the coordinator is killed as soon as a workload runs on the standby',
    expected: 'The switch is recorded once, after the restart.',
    loss: 'reported',
    async run(scene) {
      scene.cloud.crash(scene.primary.instance)
      await scene.until('the standby starts its workload', () => scene.standby.workload().length > 0)
      await scene.field.coordinator.kill()
      await settle(300)
      await scene.field.coordinator.start()
      return onceRecorded(scene)
    },
  },
  {
    id: 15,
    last: true,
    title: 'The database of the coordinator is replaced by an old copy',
    inject: 'a planned move, then the coordinator restarts with the database from before it',
    expected: 'It learns from the members who is primary; the old primary is not brought back.',
    async run(scene) {
      const { coordinator } = scene.field
      const backup = `${coordinator.database}.backup`
      await coordinator.kill()
      copyDatabase(coordinator.database, backup)
      await coordinator.start()
      await scene.fleet.untilProtected(scene.id)
      await scene.promote(scene.standby)
      await scene.serves(scene.standby)
      await coordinator.kill()
      copyDatabase(backup, coordinator.database)
      await coordinator.start()
      scene.strike()
      await settle(4000)
      await scene.runs(scene.standby)
      scene.check(scene.field.isSilent(scene.primary), 'the old primary was brought back')
      await scene.serves(scene.standby)
      return 'the primary of the later epoch went on, and the coordinator knows it'
    },
  },
  {
    id: 17,
    title: 'The database of the coordinator is locked',
    inject: 'another process holds the write lock of SQLite for 2 s, from the death of the primary on',
    expected: 'The switch is late, not double; the loss is told.',
    loss: 'reported',
    async run(scene) {
      const database = new DatabaseSync(scene.field.coordinator.database)
      database.exec('BEGIN IMMEDIATE')
      scene.cloud.crash(scene.primary.instance)
      await settle(2000)
      database.exec('ROLLBACK')
      database.close()
      const after = await scene.runs(scene.standby)
      return `the standby ran ${ms(after)} after the death; ${await onceRecorded(scene)}`
    },
  },
]
