import { abandon } from './group-abandoned.ts'
import { quiet } from './group-orders.ts'
import type { Group, GroupContext, GroupEvent, GroupStep } from './group-types.ts'

/** The database has given this epoch, or a later one, away: the vote counts for nobody, and nothing up to there is used. */
export function onVoteRefused(
  group: Group,
  { epoch, voted }: GroupEvent & { kind: 'vote-refused' },
  context: GroupContext,
): GroupStep {
  const { phase, casting } = group
  if (casting?.epoch !== epoch) return quiet(group)
  const freed: Group = {
    ...group,
    casting: undefined,
    // For whom is not known, so nobody is promised anything by it.
    voted: voted > group.voted.epoch ? { epoch: voted, primary: undefined } : group.voted,
  }
  // Meanwhile others have decided.
  if (phase.kind !== 'voting' || phase.change.proposal.epoch !== epoch) return quiet(freed)
  return abandon(freed, phase.change, context)
}
