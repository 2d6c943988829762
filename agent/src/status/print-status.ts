import { formatMillis } from '@understudy/shared/core/time'
import type { AgentStatus } from './status-socket.ts'

/** The status for people: what is wrong first, as comment lines, then one fact a line. */
export function printStatus(status: AgentStatus): string {
  const problems = status.degraded.flatMap(({ message, hint }) => [
    `# ${message}`,
    ...(hint ? [`#   Try: ${hint}`] : []),
  ])
  if (!status.connected) problems.unshift('# not connected to the coordinator')
  const { lease, sync } = status
  const facts: [string, string][] = [
    ['agent', `${status.agent_id} on ${status.instance_id}`],
    ['role', `${status.role}, epoch ${status.epoch}`],
    ['workload', status.workload],
    [
      'lease',
      lease.remaining_ms === null ? lease.mode : `${lease.mode}, ${formatMillis(lease.remaining_ms)} left`,
    ],
    ['voter', voterOf(status)],
    ['copy', copyOf(status)],
    ['notice', status.open_notice ?? 'none'],
    ['version', status.version],
  ]
  const switched = status.record?.last_switch
  if (switched)
    facts.push([
      'primary',
      `${switched.instance} since ${switched.at}, epoch ${switched.epoch}; ${status.record?.switches} in the record`,
    ])
  if (sync) facts.push(['received', `${sync.bytes_done} of ${sync.bytes_total} bytes, batch ${sync.seq}`])
  if (status.cuts) facts.push(['cut', cutOf(status.cuts)])
  if (status.prices) facts.push(['prices', pricesOf(status.prices)])
  if (status.snapshots) facts.push(['snapshot', snapshotOf(status.snapshots)])
  for (const replica of status.replicas)
    facts.push([
      'replica',
      `${replica.instance_id} ${replica.attached ? 'attached' : 'catching up'}, ${replica.lag_bytes} bytes and ${formatMillis(replica.lag_ms)} behind`,
    ])
  return `${[...problems, ...facts.map(([name, value]) => `${name.padEnd(9)} ${value}`)].join('\n')}\n`
}

function voterOf({ voter, successor, leases }: AgentStatus): string {
  const given = leases.filter(({ ms_left }) => ms_left > 0).map(({ voter: by }) => by)
  return [
    `${voter.state}, epoch ${voter.epoch}, last vote in ${voter.voted}`,
    ...(successor === null ? [] : [`successor ${successor}`]),
    ...(given.length === 0 ? [] : [`leases by ${given.join(' and ')}`]),
  ].join('; ')
}

const cutOf = ({ taken, failed, pause_ms, age_ms }: NonNullable<AgentStatus['cuts']>): string =>
  pause_ms === null || age_ms === null
    ? 'none yet'
    : `${formatMillis(age_ms)} ago, held the workload for ${pause_ms} ms; ${taken} taken, ${failed} failed`

function snapshotOf({ store, last_id, age_ms }: NonNullable<AgentStatus['snapshots']>): string {
  return last_id === null || age_ms === null
    ? `none since the agent was started, ${store}`
    : `${last_id}, ${formatMillis(age_ms)} old, ${store}`
}

function pricesOf(prices: NonNullable<AgentStatus['prices']>): string {
  const { sampling_as: as, last_sample_at: at, pools, queued, dropped, refused, last_error: error } = prices
  return [
    at === null ? 'no sample yet' : `last sample ${at}, ${pools} pools`,
    as === null ? 'not sampling' : `as ${as}`,
    `${queued} to be submitted`,
    ...(dropped > 0 ? [`${dropped} dropped`] : []),
    ...(refused > 0 ? [`${refused} refused`] : []),
    ...(error === null ? [] : [error]),
  ].join('; ')
}

function copyOf(status: AgentStatus): string {
  if (status.role === 'primary') return 'the state itself'
  return status.whole_copy ? 'whole' : 'not whole'
}
