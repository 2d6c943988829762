import { formatMillis, seconds, sleep, systemClock } from '@understudy/shared/core/time'
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
  const { operator, cloud, judge } = rig
  await wait(5)
  const before = await untilAgent(operator, HERO, 'a ready replica', hasReadyReplica)
  say(`${before.name}: AWS recommends to rebalance; the primary runs on, its replica is ready`)
  cloud.rebalance(primaryOf(before))
  await wait(8)
  judge.mark(HERO)
  say(`${before.name}: interruption notice, 120 s`)
  cloud.interrupt(primaryOf(before), seconds(120))
  const known = primaryOf(before)
  await untilAgent(
    operator,
    HERO,
    'the move',
    (agent) => agent.phase === 'steady' && primaryOf(agent) !== known,
  )
  const [incident] = (await operator.incidents(HERO)).filter(({ trigger }) => trigger === 'notice')
  const { verdict } = await judge.verify(HERO)
  if (incident)
    say(
      `${before.name}: moved in ${formatMillis(incident.failover_time_ms ?? 0)}, no primary for ${formatMillis(incident.no_primary_ms ?? 0)}, ${verdict.missing.length} of ${verdict.acked} writes lost`,
    )
  say(`${before.name}: a new replica is being made`)
  await untilAgent(operator, HERO, 'a replacement', hasReadyReplica)
  say(`${before.name}: the new replica is ready. Your turn: press Interrupt on any agent`)
}
