import type { Degradation } from '@understudy/shared/protocol/link'
import type { Replication } from '../replication/replication.ts'

/** Something that says by itself when it is degraded. */
interface Part {
  readonly degraded: Degradation | undefined
}

/** Everything that is wrong with this agent and does not stop it, for its status and the coordinator. */
export function degradationsOf(
  link: { readonly degraded: readonly Degradation[] },
  parts: readonly (Part | undefined)[],
  replication: Replication,
): Degradation[] {
  return [
    ...link.degraded,
    ...parts.flatMap((part) => (part?.degraded ? [part.degraded] : [])),
    ...receiving(replication),
    ...reading(replication),
    ...replicas(replication),
  ]
}

function receiving({ trouble }: Replication): Degradation[] {
  if (!trouble) return []
  const { code, message, hint } = trouble
  return [{ code, message: message.slice(0, 500), ...(hint === undefined ? {} : { hint }) }]
}

function reading(replication: Replication): Degradation[] {
  const unreadable = replication.unreadable()
  const [first] = unreadable
  if (!first) return []
  const message = `${unreadable.size} names of the state cannot be read: ${first[0]} (${first[1]})`
  return [
    {
      code: 'state_unreadable',
      message: message.slice(0, 500),
      hint: 'Let the agent run as a user that can read everything below the state directories.',
    },
  ]
}

function replicas(replication: Replication): Degradation[] {
  return replication.lags().flatMap(({ instance, lag }) => {
    const list: Degradation[] = []
    if (lag.withoutXattrs > 0)
      list.push({
        code: 'xattrs_not_replicated',
        message: `${instance} cannot set the extended attributes of ${lag.withoutXattrs} names`,
        hint: 'Install the package attr on both instances: getfattr and setfattr carry access lists and capabilities over.',
      })
    if (lag.verified.mismatches > 0)
      list.push({
        code: 'copy_differed',
        message: `parts of the copy on ${instance} differed on its disk ${lag.verified.mismatches} times, and were sent again`,
        hint: 'Something else writes into the state directories there, or its disk is failing: see the log for the names.',
      })
    return list
  })
}
