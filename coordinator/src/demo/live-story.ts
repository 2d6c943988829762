import { everyPeriod, formatMillis, seconds, sleep, systemClock } from '@understudy/shared/core/time'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import { hasReadyReplica, primaryOf, type Rig, untilAgent } from './rig.ts'

/** Who the story is about. */
const HERO = 'agent-demo-2'

/** What somebody sees in the first minute, told while it happens. Ends when the story is told; the demo goes on. */
export async function runLiveStory(
  rig: Rig,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const wait = (length: number) => sleep(systemClock, seconds(length), signal)
  const { operator, cloud } = rig
  await wait(5)
  const before = await untilAgent(operator, HERO, 'a ready replica', hasReadyReplica)
  say(`${before.name}: AWS recommends to rebalance; the primary runs on, its replica is ready`)
  cloud.rebalance(primaryOf(before))
  await wait(8)
  say(`${before.name}: interruption notice, 120 s`)
  cloud.interrupt(primaryOf(before), seconds(120))
  const known = primaryOf(before)
  await untilAgent(
    operator,
    HERO,
    'the move',
    (agent) => agent.phase === 'steady' && primaryOf(agent) !== known,
  )
  say(`${before.name}: a new replica is being made`)
  await untilAgent(operator, HERO, 'a replacement', hasReadyReplica)
  say(`${before.name}: the new replica is ready. Your turn: press Interrupt on any agent`)
}

/** Has the client judge every move as soon as it is over, whoever brought it about, until `signal` aborts. */
export async function judgeMoves(rig: Rig, say: (text: string) => void, signal: AbortSignal): Promise<void> {
  const judged = new Set<string>()
  await everyPeriod(systemClock, seconds(1), signal, async () => {
    // A coordinator that is being restarted is asked again in a second.
    const agents = await rig.operator.agents().catch(() => [])
    for (const { id, name } of agents)
      for (const incident of await rig.operator.incidents(id).catch(() => [])) {
        if (judged.has(incident.id) || incident.no_primary_ms === null || incident.closed_at === null)
          continue
        judged.add(incident.id)
        say(await verdictOn(rig, name, incident))
      }
  })
}

async function verdictOn(rig: Rig, name: string, incident: IncidentView): Promise<string> {
  const { verdict } = await rig.judge.verify(incident.agent_id)
  const lost = verdict.missing.length + verdict.wrong
  const gap = formatMillis(incident.no_primary_ms ?? 0)
  const moved = incident.failover_time_ms === null ? '' : ` in ${formatMillis(incident.failover_time_ms)}`
  return `${name}: ${incident.outcome}${moved}, no primary for ${gap}, ${lost} of ${verdict.acked} writes lost`
}
