import { createHash, randomUUID } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import { hours } from '@understudy/shared/core/time'
import type { PipelineInput } from '@understudy/shared/pipeline/context'
import { evaluate, type Outcome, PIPELINE_VERSION } from '@understudy/shared/pipeline/pipeline'
import type { DecisionRow, Kysely, Schema } from '../storage/database.ts'

/** Decisions as they were made, with their inputs. */
export interface DecisionStore {
  /** Returns its id. */
  add(input: PipelineInput, outcome: Outcome, made: MadeDecision): Promise<string>
  /** Makes the decision again from its stored input. @throws AppError `not_found` */
  replay(id: string): Promise<Replayed>
}

interface MadeDecision {
  readonly instanceId: string | null
  readonly poolId: string
  readonly durationMs: number
}

export interface Replayed {
  readonly row: DecisionRow
  readonly outcome: Outcome
  /** It came out byte by byte as it did then. */
  readonly same: boolean
}

/** Inputs hold every offer of a region, so they are not kept for ever. */
const KEPT = hours(30 * 24)

export function createDecisionStore(db: Kysely<Schema>): DecisionStore {
  return {
    async add(input, outcome, { instanceId, poolId, durationMs }) {
      const id = randomUUID()
      await db
        .deleteFrom('decision_execution_log')
        .where('at', '<', input.now - KEPT)
        .execute()
      await db
        .insertInto('decision_execution_log')
        .values({
          id,
          at: input.now,
          instance_id: instanceId,
          pool_id: poolId,
          mode: input.mode,
          decision: outcome.decision.decision,
          code: outcome.decision.code,
          pipeline_version: outcome.version,
          duration_ms: durationMs,
          input: JSON.stringify(input),
          outcome_sha256: digestOf(outcome),
        })
        .execute()
      return id
    },
    async replay(id) {
      const row = await db
        .selectFrom('decision_execution_log')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      if (!row)
        throw new AppError('not_found', `there is no decision ${id}`, {
          hint: 'Decisions are kept for 30 days; POST /api/v1/evaluate answers with the id as decision_id.',
        })
      if (row.pipeline_version !== PIPELINE_VERSION)
        throw new AppError('not_supported', `${id} was decided by pipeline ${row.pipeline_version}`, {
          hint: `This program has ${PIPELINE_VERSION}: replay it with the version that made it.`,
        })
      const outcome = evaluate(JSON.parse(row.input) as PipelineInput)
      return { row, outcome, same: digestOf(outcome) === row.outcome_sha256 }
    },
  }
}

const digestOf = (outcome: Outcome): string =>
  createHash('sha256').update(JSON.stringify(outcome)).digest('hex')
