import type { Replication } from '../replication/replication.ts'
import type { AgentRecord } from './record-types.ts'

/** What the role machine does to the state. */
export type RoleReplication = Pick<
  Replication,
  'serve' | 'stopServing' | 'stopFollowing' | 'drain' | 'seal' | 'finish'
>

/** Moves of the state with the record in it: nothing is recorded while the last of the state is compared. */
export const withRecord = (replication: RoleReplication, record: AgentRecord): RoleReplication => ({
  serve: (epoch) => replication.serve(epoch),
  stopServing: () => replication.stopServing(),
  stopFollowing: () => replication.stopFollowing(),
  drain: (...args) => replication.drain(...args),
  seal: (...args) => record.still(() => replication.seal(...args)),
  finish: (...args) => replication.finish(...args),
})
