import type { ReplicaView } from '@understudy/shared/protocol/agents'
import { formatAge, formatBytes, formatTook } from '../../ui/format.ts'

/** `2.1 MB of 3.3 MB · 12 MB/s · about 4 s left`; as much of it as is known. */
export function syncProgress(replica: ReplicaView): string {
  const { bytes_done: done, bytes_total: total, bytes_per_second: rate } = replica
  if (total === 0) return 'waiting for its first bytes'
  const parts = [`${formatBytes(done)} of ${formatBytes(total)}`]
  if (rate !== null) parts.push(`${formatBytes(rate)}/s`)
  if (rate !== null && rate > 0 && total > done)
    parts.push(`about ${formatAge(((total - done) / rate) * 1000)} left`)
  return parts.join(' · ')
}

/** How far it is behind the primary, in the primary's words. */
export function lagOf({ lag_ms: millis, lag_bytes: bytes }: ReplicaView): string {
  const parts = [millis === null ? '' : formatTook(millis), bytes === null ? '' : formatBytes(bytes)]
  const known = parts.filter((part) => part !== '')
  return known.length === 0 ? 'lag not known' : `lag ${known.join(', ')}`
}
