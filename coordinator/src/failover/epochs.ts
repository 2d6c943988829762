import type { AgentId } from '@understudy/shared/core/ids'
import type { EpochView } from '@understudy/shared/protocol/agents'
import { certificateSchema } from '@understudy/shared/protocol/voter-messages'
import type { EpochCertificateRow, Kysely, Schema } from '../storage/database.ts'

/** What was decided about one agent, the latest first. */
export async function listEpochs(
  db: Kysely<Schema>,
  agentId: AgentId,
  limit: number,
  before: number | undefined,
): Promise<readonly EpochView[]> {
  let query = db
    .selectFrom('epoch_certificates')
    .selectAll()
    .where('agent_id', '=', agentId)
    .orderBy('epoch', 'desc')
    .limit(limit)
  if (before !== undefined) query = query.where('epoch', '<', before)
  return (await query.execute()).map(toEpochView)
}

function toEpochView(row: EpochCertificateRow): EpochView {
  const { proposal, votes } = certificateSchema.parse(JSON.parse(row.certificate))
  return {
    epoch: row.epoch,
    kind: row.kind as EpochView['kind'],
    primary_id: row.primary_id,
    successor_id: row.successor_id,
    term: proposal.term,
    votes: votes.map(({ voter }) => voter),
    forced: row.forced === 1,
    digest: row.digest,
    previous_digest: row.previous_digest === '' ? null : row.previous_digest,
    recorded_at: new Date(row.recorded_at).toISOString(),
  }
}
