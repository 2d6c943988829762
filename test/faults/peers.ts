import type { Fault } from './fault.ts'
import { COORDINATOR } from './network.ts'
import { ms, type Scene, settle, told } from './scene.ts'

/** The other side of a move ends, several end, or several want the same. */

async function handingOver(scene: Scene): Promise<void> {
  await scene.until('the hand-over is under way', async () => (await scene.view()).phase === 'handing-over')
}

/** The old primary serves and everything is there. */
async function runsOn(scene: Scene): Promise<string> {
  const after = await scene.runs(scene.primary)
  await scene.serves(scene.primary, 40_000)
  return `the old primary answered again ${ms(after)} after it`
}

export const peers: readonly Fault[] = [
  {
    id: 36,
    title: 'The standby dies in a move, before the primary has given its vote',
    inject: 'a planned move; the standby is killed while the primary freezes its workload',
    expected: 'The primary thaws and goes on; nothing is lost.',
    async run(scene) {
      const undo = scene.primary.hook('slow-freeze')
      const moving = scene.promote(scene.standby)
      await handingOver(scene)
      scene.strike()
      scene.cloud.crash(scene.standby.instance)
      undo()
      const seen = await runsOn(scene)
      await moving
      const incident = await scene.incident()
      return `${seen}; ${told(incident)}`
    },
  },
  {
    id: 37,
    title: 'The standby dies in a move, after the primary has given its vote',
    inject: 'a planned move; the standby is killed while it starts its workload',
    expected: 'The old primary, which has everything, gets the next epoch and goes on; nothing is lost.',
    async run(scene) {
      const undo = scene.standby.hook('hang-start')
      const moving = scene.promote(scene.standby)
      await scene.until('the epoch belongs to the standby', async () => {
        const { phase, instance_id: instance } = await scene.view()
        return phase === 'promoting' || instance === scene.standby.instance
      })
      scene.strike()
      scene.cloud.crash(scene.standby.instance)
      undo()
      const seen = await runsOn(scene)
      await moving
      return `${seen}; ${(await scene.incidents()).map(told).join('; ')}`
    },
  },
  {
    id: 38,
    title: 'The primary dies in a move, between the freeze and its vote',
    inject:
      'a planned move; every process of the primary is killed 0 to 20 ms after its workload stands still',
    expected:
      'The standby serves with everything that was acknowledged before the freeze, or the incident says what is missing.',
    loss: 'reported',
    async run(scene) {
      const { primary, standby, field } = scene
      const moving = scene.promote(standby)
      for (const ends = performance.now() + 5000; !field.isSilent(primary) && performance.now() < ends; )
        await settle(1)
      await settle(Math.random() * 20)
      scene.strike()
      scene.cloud.crash(primary.instance)
      const after = await scene.runs(standby)
      await moving
      await scene.serves(standby)
      return `the standby ran ${ms(after)} after it; ${(await scene.incidents()).map(told).join('; ')}`
    },
  },
  {
    id: 42,
    title: 'Primary and standby die together',
    inject:
      'both instances are terminated without a notice; a third member lives. The cloud says so after 2 s',
    expected: 'The third is promoted on the evidence of the cloud; the loss is told.',
    loss: 'reported',
    async run(scene) {
      const third = await scene.addStandby()
      scene.strike()
      scene.cloud.interrupt(scene.primary.instance, undefined)
      scene.cloud.interrupt(scene.standby.instance, undefined)
      const after = await scene.runs(third, 30_000)
      await scene.serves(third)
      return `the third ran after ${ms(after)}; ${told(await scene.incident())}`
    },
  },
  {
    id: 43,
    slow: true,
    title: 'Two candidates at once',
    inject: 'the primary cannot reach either of two standbys, nor the coordinator, for as long as it takes',
    expected: 'One of them wins, the other follows it; never two.',
    loss: 'reported',
    async run(scene) {
      const { primary, standby, network } = scene
      const third = await scene.addStandby()
      network.between(primary.instance, [standby.instance, third.instance, COORDINATOR], { state: 'cut' })
      scene.strike()
      let winner = standby
      await scene.until('one of them runs', async () => {
        if (await third.answers()) winner = third
        return winner === third || (await standby.answers())
      })
      const loser = winner === third ? standby : third
      await scene.serves(winner)
      for (const ends = performance.now() + 2000; performance.now() < ends; await settle(100))
        scene.check(loser.workload().length === 0, 'the other one runs too')
      const incident = await scene.incident()
      const switches = await scene.switches()
      scene.check(switches.length === 1, `${switches.length} switches`)
      return `one ran, the other did not; ${told(incident)}`
    },
  },
  {
    id: 46,
    slow: true,
    title: 'The old primary returns with writes that nobody else has',
    inject:
      'its line to the standby is cut first, then the one to the coordinator; after the take-over both are healed',
    expected: 'It follows the new primary, and its tree becomes equal to it; the loss is told.',
    loss: 'reported',
    async run(scene) {
      const { primary, standby, network } = scene
      network.between(primary.instance, [standby.instance], { state: 'cut' })
      await settle(300)
      network.between(primary.instance, [COORDINATOR], { state: 'cut' })
      scene.strike()
      await scene.runs(standby)
      await scene.serves(standby)
      const incident = await scene.incident()
      network.heal()
      await scene.until('the old primary follows', async () => {
        const replica = await scene.replicaOf(primary).catch(() => undefined)
        return replica?.status === 'ready'
      })
      return `${told(incident)}; ${await scene.convergesTo(standby, primary)}`
    },
  },
  {
    id: 57,
    title: 'The workload does not start on the standby',
    inject: 'its start hook ends with 3, in a planned move',
    expected: 'The old primary goes on with everything, and the record has what the hook said.',
    async run(scene) {
      const undo = scene.standby.hook('fail-start')
      await scene.promote(scene.standby)
      const incident = await scene.incident()
      undo()
      scene.check(incident.outcome === 'failed', `it ended as ${incident.outcome}`)
      const said = incident.steps.find(({ step }) => step === 'promotion-failed')?.detail ?? ''
      scene.check(/the test wants start to fail/.test(said), `the record says "${said}"`)
      await scene.serves(scene.primary)
      return `${told(incident)}; the record has the output of the hook`
    },
  },
  {
    id: 57,
    slow: true,
    title: 'The start hook of the standby hangs',
    inject: 'it does not end in its 3 s, in a planned move',
    expected: 'The hook is killed, the old primary goes on with everything.',
    async run(scene) {
      const undo = scene.standby.hook('hang-start')
      await scene.promote(scene.standby)
      const incident = await scene.incident()
      undo()
      scene.check(incident.outcome === 'failed', `it ended as ${incident.outcome}`)
      await scene.serves(scene.primary)
      return told(incident)
    },
  },
  {
    id: 53,
    title: 'Wrong cluster, wrong group, expired or foreign certificate',
    inject: 'connections to the port for replicas and to the coordinator with each of them',
    expected: 'Refused.',
    proof: {
      why: 'a process with a foreign certificate is not one of ours; the handshake itself is what is tested',
      tests: [
        ['agent/src/replication/mutual-tls.test.ts', 'the certificate of another authority is refused'],
        ['agent/src/replication/mutual-tls.test.ts', 'whoever shows no certificate is refused'],
        [
          'agent/src/replication/mutual-tls.test.ts',
          'a certificate does not take the place of the token of the pair',
        ],
        [
          'agent/src/replication/replication.test.ts',
          'a replica with the wrong token, of another epoch, or unknown gets nothing',
        ],
        ['test/contract/certificates.test.ts', 'an instance that was let go gets no certificate'],
      ],
    },
  },
]
