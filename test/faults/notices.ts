import { join } from 'node:path'
import type { Fault } from './fault.ts'
import { keepCopy } from './kept-copy.ts'
import { writeNoise } from './plant.ts'
import { ms, type Scene, settle, told } from './scene.ts'

/** AWS says that it takes the instance back, once or more, well or badly. */

/** The move ended well, without loss, on `target`. */
export async function movedTo(scene: Scene, target = scene.standby, within = 30_000): Promise<string> {
  const incident = await scene.incident(within)
  scene.check(
    incident.outcome === 'promoted',
    `the incident ended as ${incident.outcome}: ${incident.outcome_reason}`,
  )
  scene.check(incident.loss?.kind === 'none', `the loss is ${incident.loss?.sentence ?? 'not told'}`)
  await scene.serves(target)
  const switches = await scene.switches()
  scene.check(switches.length === 1, `${switches.length} records of one switch`)
  return told(incident)
}

async function backlog(scene: Scene, mebibytes: number, perSecond: number, lead: number): Promise<string> {
  const { primary, standby, network } = scene
  network.between(primary.instance, [standby.instance], {
    state: 'open',
    bytesPerSecond: perSecond * 1024 * 1024,
  })
  await writeNoise(join(primary.state, 'backlog'), mebibytes)
  const compare = await keepCopy(scene)
  scene.strike()
  scene.notice(primary, lead)
  const seen = await movedTo(scene, standby, lead + 10_000)
  return `${seen}; ${await compare(standby)}`
}

export const notices: readonly Fault[] = [
  {
    id: 7,
    title: 'A notice, everything healthy',
    inject:
      'a notice of 20 s in the metadata service, while names, types and modes of every kind are in the state',
    expected: 'The standby serves, nothing is lost, and the trees at the freeze and at the start are equal.',
    async run(scene) {
      const stop = await scene.keepTrees()
      scene.notice(scene.primary)
      const seen = await movedTo(scene)
      stop()
      return `${seen}; ${scene.sameTrees(scene.primary, scene.standby)}`
    },
  },
  {
    id: 8,
    title: 'A notice with much that is not replicated yet',
    inject: '16 MiB are written, 4 MiB/s go to the standby, a notice of 30 s follows',
    expected: 'What is missing is sent first, then the workload moves; nothing is lost.',
    run: (scene) => backlog(scene, 16, 4, 30_000),
  },
  {
    id: 8,
    slow: true,
    title: 'A notice with 1 GiB that is not replicated yet',
    inject: '1 GiB is written, 32 MiB/s go to the standby, a notice of 120 s follows',
    expected: 'As above.',
    run: (scene) => backlog(scene, 1024, 32, 120_000),
  },
  {
    id: 9,
    slow: true,
    title: 'A notice while the first copy is under way',
    inject: 'the only standby has received a part of 12 MiB at 4 MiB/s when a notice of 30 s comes',
    expected: 'The copy is completed, then the workload moves to it; nothing is lost.',
    async run(scene) {
      const { primary, network, call, id } = scene
      const { id: old } = await scene.replicaOf(scene.standby)
      await call('DELETE', `/api/agents/${id}/replicas/${old}`)
      await writeNoise(join(primary.state, 'large'), 12)
      const made = await scene.call('POST', `/api/agents/${id}/replicas`, {})
      const { instance_id: instance } = made.body.replica
      scene.check(typeof instance === 'string', `no instance was launched (${made.status})`)
      await scene.until('the new instance boots', () =>
        scene.members().some((each) => each.instance === instance),
      )
      const fresh = scene.member(instance)
      network.between(primary.instance, [fresh.instance], { state: 'open', bytesPerSecond: 4 * 1024 * 1024 })
      let percent = 0
      await scene.until('a part has arrived', async () => {
        percent = (await scene.replicaOf(fresh)).sync_percent
        return percent >= 20
      })
      scene.strike()
      scene.notice(primary, 30_000)
      const seen = await movedTo(scene, fresh)
      return `at ${percent.toFixed(0)} % of the copy; ${seen}`
    },
  },
  {
    id: 39,
    title: 'A notice is withdrawn',
    inject: 'a notice, and after the move it is taken back: the instance lives on',
    expected: 'The old primary becomes a standby, and nothing moves back.',
    async run(scene) {
      scene.notice(scene.primary)
      const seen = await movedTo(scene)
      scene.cloud.withdraw(scene.primary.instance)
      await settle(2500)
      const agent = await scene.view()
      scene.check(agent.instance_id === scene.standby.instance, 'it moved back')
      scene.check((await scene.incidents()).length === 1, 'there is a second incident')
      scene.check(scene.field.isSilent(scene.primary), 'the workload runs on the old primary')
      return `${seen}; 2.5 s later nothing had moved back`
    },
  },
  {
    id: 40,
    title: 'The same order again and again',
    inject:
      'five calls for one promotion at once, the notice of the same instance twice over the API, the calls again',
    expected: 'One switch; whoever comes late is told so.',
    async run(scene) {
      const { id: replica } = await scene.replicaOf(scene.standby)
      const path = `/api/agents/${scene.id}/replicas/${replica}/promote`
      const notice = {
        instance_id: scene.primary.instance,
        termination_time: new Date(Date.now() + 20_000).toISOString(),
      }
      const noticePath = `/api/agents/${scene.id}/termination-imminent`
      const answers = await Promise.all([
        ...Array.from({ length: 5 }, () => scene.call('POST', path, {})),
        scene.call('POST', noticePath, notice),
        scene.call('POST', noticePath, notice),
      ])
      answers.push(await scene.call('POST', path, {}), await scene.call('POST', noticePath, notice))
      const codes = answers.map(({ status }) => status)
      scene.check(
        codes.every((status) => status < 500),
        `answers ${codes.join(', ')}`,
      )
      await scene.serves(scene.standby)
      await scene.until('all incidents are closed', async () =>
        (await scene.incidents()).every(({ closed_at: closed }) => closed !== null),
      )
      const switches = await scene.switches()
      scene.check(switches.length === 1, `${switches.length} switches`)
      return `answers ${codes.join(', ')}; one switch, ${(await scene.incidents()).length} incidents`
    },
  },
  {
    id: 41,
    slow: true,
    title: 'Primary and standby get a notice at once',
    inject: 'notices of 20 s on both; a third member has none. The agents see them within 2 s of each other',
    expected: 'The third member has the workload in the end, in one move or two; nothing is lost.',
    async run(scene) {
      const third = await scene.addStandby()
      scene.strike()
      scene.notice(scene.standby)
      scene.notice(scene.primary)
      await scene.serves(third, 18_000)
      await scene.until('every incident is closed', async () =>
        (await scene.incidents()).every(({ closed_at: closed }) => closed !== null),
      )
      // That a standby is going away is an incident too, in which nothing is moved.
      const incidents = (await scene.incidents()).filter(({ outcome }) => outcome !== 'no-action')
      scene.check(incidents.length <= 2, `${incidents.length} moves`)
      for (const { loss } of incidents)
        scene.check(loss === null || loss.kind === 'none', `the loss is ${loss?.sentence}`)
      return `${incidents.length} moves; ${incidents.map(told).join('; ')}`
    },
  },
  {
    id: 44,
    slow: true,
    title: 'A notice while the standby hangs',
    inject: 'SIGSTOP to the agent of the standby for 3 s; the notice of 30 s comes meanwhile',
    expected: 'The move waits for the standby, or takes another; nothing stale is promoted, nothing is lost.',
    async run(scene) {
      scene.standby.signalAgent('SIGSTOP')
      await settle(500)
      scene.notice(scene.primary, 30_000)
      await settle(2500)
      scene.check(
        scene.field.isSilent(scene.standby),
        'the standby runs the workload while its agent stands still',
      )
      scene.standby.signalAgent('SIGCONT')
      const incident = await scene.incident(40_000)
      scene.check(incident.outcome === 'promoted', `it ended as ${incident.outcome}`)
      scene.check(incident.loss?.kind === 'none', `the loss is ${incident.loss?.sentence ?? 'not told'}`)
      return `${told(incident)}, to ${incident.new_instance_id === scene.standby.instance ? 'the same standby' : 'another instance'}`
    },
  },
  {
    id: 55,
    slow: true,
    title: 'The network becomes slow at the last moment',
    inject:
      'a planned move; when the workload is frozen, 4 MiB are still to be sent and the line has 1 Mbit/s',
    expected:
      'The freeze is bounded: the move is called off and the old primary goes on, or it ends in time. Nothing is lost.',
    async run(scene) {
      const { primary, standby, network } = scene
      const undo = primary.hook('slow-freeze')
      const moving = scene.promote(standby)
      await scene.until(
        'the hand-over is under way',
        async () => (await scene.view()).phase === 'handing-over',
      )
      network.between(primary.instance, [standby.instance], { state: 'open', bytesPerSecond: 125_000 })
      await writeNoise(join(primary.state, 'late'), 4)
      const incident = await scene.incident(90_000)
      undo()
      await moving
      const gap = incident.no_primary_ms ?? 0
      scene.check(gap < 12_000, `the workload stood still for ${ms(gap)}`)
      scene.check(incident.loss?.kind === 'none', `the loss is ${incident.loss?.sentence ?? 'not told'}`)
      return told(incident)
    },
  },
  {
    id: 58,
    slow: true,
    title: 'The metadata service fails',
    inject: 'it answers 503, then not at all, then knows no token; the notice comes over the API only',
    expected: 'No false notice; the second way moves the workload without loss.',
    async run(scene) {
      const { instance } = scene.primary
      const imds = scene.cloud.imdsOf(instance)
      imds.fail({ kind: 'status', status: 503 })
      await scene.calm(2200)
      imds.clearFaults()
      imds.forgetTokens()
      imds.fail({ kind: 'hang' })
      await scene.calm(2200)
      scene.strike()
      await scene.call('POST', `/api/agents/${scene.id}/termination-imminent`, {
        instance_id: instance,
        termination_time: new Date(Date.now() + 20_000).toISOString(),
      })
      return `4.4 s without a false notice; ${await movedTo(scene)}`
    },
  },
  {
    id: 59,
    slow: true,
    title: 'The standby is removed while a notice moves the workload',
    inject: 'a notice, and at once the order to terminate the standby; a third member is there',
    expected: 'One outcome: somebody serves with everything, and one incident says who.',
    async run(scene) {
      const third = await scene.addStandby()
      const { id: replica } = await scene.replicaOf(scene.standby)
      scene.strike()
      scene.notice(scene.primary)
      await settle(Math.random() * 2000)
      const { status } = await scene.call('DELETE', `/api/agents/${scene.id}/replicas/${replica}`)
      const incident = await scene.incident(40_000)
      scene.check(
        incident.outcome === 'promoted',
        `it ended as ${incident.outcome}: ${incident.outcome_reason}`,
      )
      const to = incident.new_instance_id === third.instance ? 'the third' : 'the standby'
      return `removal answered ${status}; ${told(incident)}, to ${to}`
    },
  },
]
