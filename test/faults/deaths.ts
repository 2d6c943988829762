import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Fault } from './fault.ts'
import { commandOf, environmentOf, isAlive } from './processes.ts'
import { ms, type Scene, settle, told } from './scene.ts'

/** A primary, or a part of it, ends or stands still without a word. */

const QUICK_TAKEOVER = 8000

/** The standby serves, one incident says so. */
async function takenOver(scene: Scene): Promise<string> {
  const after = await scene.runs(scene.standby, QUICK_TAKEOVER)
  await scene.serves(scene.standby)
  const incident = await scene.incident()
  scene.check(incident.outcome === 'promoted', `the incident ended as ${incident.outcome}`)
  scene.check((await scene.switches()).length === 1, 'there is not one record of the switch')
  return `the standby ran ${ms(after)} after it; ${told(incident)}`
}

async function agentKilled(scene: Scene, how: () => void): Promise<string> {
  const { primary } = scene
  const before = primary.workload()
  scene.check(before.length > 0, 'no workload runs')
  how()
  await scene.until('the agent has ended', () => !primary.hasAgent(), 15_000)
  scene.strike()
  await scene.until('its workload has ended', () => !before.some(isAlive), 3000)
  const ended = `its workload ended with it`
  await scene.until('somebody serves', async () => (await scene.view()).phase === 'steady', 20_000)
  return `${ended}; ${await takenOver(scene)}`
}

/** What a supervisor of the workload does: starts it again with the environment that it had. */
function startAgain(scene: Scene, command: readonly string[], environment: Record<string, string>): void {
  const [file = '', ...args] = command
  const { directory } = scene.primary
  const child = spawn(file, args, { cwd: directory, env: environment, detached: true, stdio: 'ignore' })
  writeFileSync(join(directory, 'workload.pid'), `${child.pid}\n`)
  child.unref()
}

async function stopAgent(scene: Scene, forMillis: number): Promise<string> {
  const { primary } = scene
  primary.signalAgent('SIGSTOP')
  const silent = await scene.silent(primary)
  const seen = await takenOver(scene)
  await settle(Math.max(0, forMillis - QUICK_TAKEOVER / 2))
  scene.check(scene.field.isSilent(primary), 'the workload of the stopped agent runs again')
  primary.signalAgent('SIGCONT')
  await scene.until('the old primary follows the new one', async () => {
    const replica = await scene.replicaOf(primary).catch(() => undefined)
    return replica?.status === 'ready'
  })
  return `its workload was ended after ${ms(silent)}; ${seen}; afterwards the old primary follows`
}

export const deaths: readonly Fault[] = [
  {
    id: 1,
    title: 'Agent and workload of the primary are killed',
    inject: 'SIGKILL to every process of the instance; the cloud goes on saying that it runs',
    expected: 'The standby serves once the lease has run out; what is lost is what the one incident says.',
    loss: 'reported',
    async run(scene) {
      scene.cloud.crash(scene.primary.instance)
      return takenOver(scene)
    },
  },
  {
    id: 2,
    title: 'Only the agent is killed, the workload lives',
    inject: 'SIGKILL to the agent',
    expected: 'The workload is ended before anybody else runs it; the standby serves.',
    loss: 'reported',
    run: (scene) => agentKilled(scene, () => scene.primary.signalAgent('SIGKILL')),
  },
  {
    id: 3,
    title: 'Only the workload is killed',
    inject: 'SIGKILL to the workload; its supervisor starts it again after 300 ms',
    expected:
      'Nobody moves: a workload that ends is for its own supervisor, and everything acknowledged is there.',
    async run(scene) {
      const [pid] = scene.primary.workload()
      scene.check(pid !== undefined, 'no workload runs')
      const [command, environment] = [commandOf(pid ?? 0), { ...environmentOf(pid ?? 0) }]
      scene.primary.signalWorkload('SIGKILL')
      await scene.silent(scene.primary)
      await settle(300)
      startAgain(scene, command, environment)
      const after = await scene.runs(scene.primary)
      await scene.calm(1500)
      return `it answered again after ${ms(after)}; same primary, no incident`
    },
  },
  {
    id: 4,
    title: 'The agent stands still, the workload runs on',
    inject: 'SIGSTOP to the agent for 6 s',
    expected:
      'The workload is ended at the end of the lease, before the standby runs it; the agent then follows.',
    loss: 'reported',
    run: (scene) => stopAgent(scene, 6000),
  },
  {
    id: 4,
    slow: true,
    title: 'The agent stands still for a minute, the workload runs on',
    inject: 'SIGSTOP to the agent for 60 s',
    expected: 'As above.',
    loss: 'reported',
    run: (scene) => stopAgent(scene, 60_000),
  },
  {
    id: 30,
    title: 'The agent runs out of memory',
    inject: 'its heap is filled until the runtime aborts it',
    expected: 'As when the agent is killed: its workload is ended, the standby serves.',
    loss: 'reported',
    run: (scene) => agentKilled(scene, () => scene.primary.inside({ act: 'exhaust' })),
  },
]
