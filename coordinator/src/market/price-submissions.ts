import { randomUUID } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import type { AgentId } from '@understudy/shared/core/ids'
import { hours, type Instant, instant } from '@understudy/shared/core/time'
import { checkSample, givenFrom, isRefusal, type Known } from '@understudy/shared/market/sample'
import {
  MOST_REFUSALS,
  type PriceSubmission,
  type PriceSubmissionResult,
  submissionCodes,
} from '@understudy/shared/protocol/market'
import type { Kysely, Schema } from '../storage/database.ts'
import type { IngestResult, SubmittedRow } from './ingest.ts'
import type { Market } from './market.ts'
import { createNewPools } from './new-pools.ts'
import { readOccupancy } from './read-occupancy.ts'

/** Who has sent it; an operator sends for the agent's primary. */
export interface Sender {
  readonly agentId: AgentId
  readonly instanceId: string | null
}

export type SubmitPrices = (sender: Sender, submission: PriceSubmission) => Promise<PriceSubmissionResult>

/**
 * Takes what an agent has sampled. A row may name another instance of the same agent, whose samples the sender has taken
 * over. Only an instance that our own record knows as a primary may have sampled as one, and not after its term.
 */
export function createSubmitPrices(parts: {
  readonly db: Kysely<Schema>
  readonly market: Pick<Market, 'ingest' | 'unknownPools'>
  readonly known: () => Known
  readonly onResult: (result: IngestResult) => void
}): SubmitPrices {
  const { db, market, known, onResult } = parts
  const newPools = createNewPools(market.unknownPools)
  return async ({ agentId, instanceId }, { submission_id: given, samples }) => {
    const agent = await db
      .selectFrom('agents')
      .select(['id', 'instance_id'])
      .where('id', '=', agentId)
      .executeTakeFirst()
    if (!agent)
      throw new AppError('not_found', `there is no agent ${agentId}`, { hint: 'GET /api/agents lists them.' })
    const sender = instanceId ?? agent.instance_id
    const own = known()
    const { now } = own
    const measures = { ...own, since: instant(now - REACH) }
    const roles = await readRoles(db, agent, now)
    const checked = samples.map((row) => toRow(row, sender, roles, measures))
    const rows = await newPools.limit(agentId, checked, now)
    const submissionId = given ?? randomUUID()
    const result = await market.ingest({ submissionId, agentId, rows })
    onResult(result)
    return {
      submission_id: submissionId,
      accepted: result.accepted,
      duplicates: result.duplicates,
      refused: result.refused,
      errors: result.errors.slice(0, MOST_REFUSALS).map(({ index, code, reason }) => ({
        pointer: `/samples/${index}`,
        code: submissionCodes.find((known) => known === code) ?? 'instance_unknown',
        message: reason,
      })),
    }
  }
}

interface Roles {
  isInstance(id: string): boolean
  /** Whether it was the primary then; `said` is what the row says of itself. */
  wasPrimary(id: string, at: Instant, said: unknown): boolean
}

async function readRoles(
  db: Kysely<Schema>,
  agent: { readonly id: string; readonly instance_id: string | null },
  now: Instant,
): Promise<Roles> {
  // A sample may be a little younger than what we know of its instance.
  const { instances, stays } = await readOccupancy(db, agent, instant(now + CLOCKS_DIFFER))
  return {
    isInstance: (id) => instances.has(id),
    wasPrimary(id, at, said) {
      const terms = stays.filter(({ instanceId, role }) => instanceId === id && role === 'primary')
      if (said === 'replica') return false
      // We may have heard late of a move, so its beginning is the instance's own word; nobody stays primary after its end.
      if (said === 'primary') return terms.some(({ to }) => at < to + CLOCKS_DIFFER)
      return terms.some(({ from, to }) => at >= from && at < to)
    },
  }
}

/** Which instance the row says took it; undefined when it does not say. */
function namedIn(row: unknown): string | undefined {
  if (typeof row !== 'object' || row === null || !('instance_id' in row)) return undefined
  const { instance_id: named } = row
  return typeof named === 'string' ? named.slice(0, 64) : (JSON.stringify(named) ?? '').slice(0, 64)
}

const saidIn = (row: unknown): unknown =>
  typeof row === 'object' && row !== null && 'role' in row ? row.role : undefined

/** Agents keep samples for 7 days; what comes with an older time has not waited with one. */
const REACH = hours(8 * 24)

/** As far as a sample may lie in the future. */
const CLOCKS_DIFFER = 5 * 60_000

function toRow(row: unknown, sender: string | null, roles: Roles, known: Known): SubmittedRow {
  const given = givenFrom(row)
  const instanceId = namedIn(row) ?? sender ?? 'nobody'
  if (!roles.isInstance(instanceId))
    return {
      given,
      instanceId,
      role: 'replica',
      refused: {
        code: 'instance_unknown',
        reason: `${instanceId} is not an instance of this agent, so that its samples count for nothing`,
      },
    }
  const sample = checkSample(given, known)
  if (isRefusal(sample)) return { given, instanceId, role: 'replica', refused: sample }
  const isPrimarys = roles.wasPrimary(instanceId, sample.at, saidIn(row))
  return { given, instanceId, role: isPrimarys ? 'primary' : 'replica' }
}
