import { randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { AppError } from '@understudy/shared/core/app-error'
import { hours, type Instant } from '@understudy/shared/core/time'
import type { PipelineInput } from '@understudy/shared/pipeline/context'
import type { ActuatorLevel, ActuatorName } from '@understudy/shared/pipeline/instance-config'
import { evaluate, type Outcome, PIPELINE_VERSION } from '@understudy/shared/pipeline/pipeline'
import {
  comesAfter,
  type DecisionActionRow,
  type DecisionRow,
  type Kysely,
  type Position,
  type Schema,
} from '../storage/database.ts'
import { createPartBases, createPartSplitter, joinInput, sha256Of } from './decision-parts.ts'

/** Decisions as they were made, with their inputs. */
export interface DecisionStore {
  /** Returns its id. */
  add(input: PipelineInput, outcome: Outcome, made: MadeDecision): Promise<string>
  /** In portions, so that nobody who decides waits for long; when it throws, the first ones may be there. */
  addAll(decisions: readonly NewDecision[], now: Instant): Promise<void>
  /** The latest first. */
  list(filter: DecisionFilter): Promise<readonly ListedDecision[]>
  /** Makes the decision again from its stored input. @throws AppError `not_found`, `not_supported`, `state_unreadable` */
  replay(id: string): Promise<Replayed>
}

export interface MadeDecision {
  readonly instanceId: string | null
  readonly poolId: string
  readonly durationMs: number
  readonly targetId?: string | null
  readonly cycleId?: string | null
  readonly actuator?: ActuatorName | null
  readonly level?: ActuatorLevel | null
}

/** One that is digested, so that a cycle of many need not hold each whole outcome. */
export interface NewDecision {
  readonly id: string
  readonly input: PipelineInput
  readonly made: MadeDecision
  readonly digest: OutcomeDigest
}

export type OutcomeDigest = Pick<Outcome, 'version' | 'riskSource' | 'decision'> & {
  readonly sha256: string
  readonly instability12h: number | null
  readonly interruption12h: number | null
}

export interface DecisionFilter {
  readonly limit: number
  readonly instanceId?: string | undefined
  readonly targetId?: string | undefined
  readonly cycleId?: string | undefined
  readonly decision?: string | undefined
  readonly from?: number | undefined
  readonly to?: number | undefined
  /** Where the page before has ended. */
  readonly after?: Position | undefined
}

export type ListedDecision = Omit<DecisionRow, 'input'> & {
  readonly result_status: DecisionActionRow['status'] | null
  readonly result_reason: DecisionActionRow['reason'] | null
}

export interface Replayed {
  readonly row: DecisionRow
  readonly outcome: Outcome
  /** It came out byte by byte as it did then. */
  readonly same: boolean
}

/** Inputs hold every offer of a region, so they are not kept for ever. */
const KEPT_DAYS = 30
/** What has run out is looked for this often. */
const FORGET_EVERY = hours(1)
/** Rows of one statement: databases limit its parameters, and others wait for it. */
const ROWS = 100

/** @param keptDays how long decisions are kept with their inputs */
export function createDecisionStore(db: Kysely<Schema>, keptDays: number = KEPT_DAYS): DecisionStore {
  const bases = createPartBases()
  let forgotten = Number.NEGATIVE_INFINITY

  async function addAll(decisions: readonly NewDecision[], now: Instant): Promise<void> {
    const parts = createPartSplitter(bases)
    const rows = decisions.map((one) => toRow(one, parts.split(one.input)))
    await parts.save(db, now)
    for (let start = 0; start < rows.length; start += ROWS) {
      await db
        .insertInto('decision_execution_log')
        .values(rows.slice(start, start + ROWS))
        .execute()
      await setImmediate()
    }
    // A clock that was ahead for a while does not put it off.
    if (Math.abs(now - forgotten) < FORGET_EVERY) return
    forgotten = now
    await forget(db, now - hours(keptDays * 24))
  }

  return {
    addAll,
    async add(input, outcome, made) {
      const id = randomUUID()
      await addAll([{ id, input, made, digest: digestOf(outcome) }], input.now)
      return id
    },
    list: (filter) => list(db, filter),
    async replay(id) {
      const row = await db
        .selectFrom('decision_execution_log')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      if (!row)
        throw new AppError('not_found', `there is no decision ${id}`, {
          hint: 'Decisions are kept for decision_retention days (30 if not set); POST /api/v1/evaluate answers with the id as decision_id.',
        })
      if (row.pipeline_version !== PIPELINE_VERSION)
        throw new AppError('not_supported', `${id} was decided by pipeline ${row.pipeline_version}`, {
          hint: `This program has ${PIPELINE_VERSION}: replay it with the version that made it.`,
        })
      const outcome = evaluate(await joinInput(db, row))
      return { row, outcome, same: digestOf(outcome).sha256 === row.outcome_sha256 }
    },
  }
}

export const digestOf = (outcome: Outcome): OutcomeDigest => ({
  version: outcome.version,
  riskSource: outcome.riskSource,
  decision: outcome.decision,
  sha256: sha256Of(JSON.stringify(outcome)),
  instability12h: outcome.current?.risk?.instability12h ?? null,
  interruption12h: outcome.current?.risk?.interruption12h ?? null,
})

function toRow({ id, input, made, digest }: NewDecision, split: { input: string; parts: string }) {
  const { decision } = digest
  return {
    id,
    at: input.now,
    instance_id: made.instanceId,
    pool_id: made.poolId,
    mode: input.mode,
    decision: decision.decision,
    code: decision.code,
    pipeline_version: digest.version,
    duration_ms: made.durationMs,
    ...split,
    outcome_sha256: digest.sha256,
    cycle_id: made.cycleId ?? null,
    target_id: made.targetId ?? null,
    reason: decision.reason,
    aws_signal: decision.awsSignal,
    risk_source: digest.riskSource,
    model_version: input.model?.version ?? null,
    p_instability: digest.instability12h,
    p_interruption: digest.interruption12h,
    target_pool_id: decision.target?.id ?? null,
    gain: decision.gainUsd === null ? null : Math.round(decision.gainUsd * 1e6),
    action: decision.action?.kind ?? null,
    alert: decision.alert,
    actuator: made.actuator ?? null,
    level: made.level ?? null,
  }
}

async function list(db: Kysely<Schema>, filter: DecisionFilter): Promise<readonly ListedDecision[]> {
  let query = db
    .selectFrom('decision_execution_log as log')
    .leftJoin('decision_actions as act', 'act.decision_id', 'log.id')
    .select([
      ...LISTED.map((column) => `log.${column}` as const),
      'act.status as result_status',
      'act.reason as result_reason',
    ])
    .where(comesAfter(filter.after, { at: 'log.at', id: 'log.id' }))
    .orderBy('log.at', 'desc')
    .orderBy('log.id', 'desc')
    .limit(filter.limit)
  const equal = [
    ['log.instance_id', filter.instanceId],
    ['log.target_id', filter.targetId],
    ['log.cycle_id', filter.cycleId],
    ['log.decision', filter.decision],
  ] as const
  for (const [column, value] of equal) if (value !== undefined) query = query.where(column, '=', value)
  if (filter.from !== undefined) query = query.where('log.at', '>=', filter.from)
  if (filter.to !== undefined) query = query.where('log.at', '<', filter.to)
  return query.execute()
}

const LISTED = [
  ...(['id', 'at', 'instance_id', 'pool_id', 'mode', 'decision', 'code', 'pipeline_version'] as const),
  ...(['duration_ms', 'parts', 'outcome_sha256', 'cycle_id', 'target_id', 'reason', 'aws_signal'] as const),
  ...(['risk_source', 'model_version', 'p_instability', 'p_interruption', 'target_pool_id'] as const),
  ...(['gain', 'action', 'alert', 'actuator', 'level'] as const),
]

/** Parts go after the last decision that has them: each is marked with the time of its last use. */
async function forget(db: Kysely<Schema>, before: number): Promise<void> {
  for (;;) {
    const old = await db
      .selectFrom('decision_execution_log')
      .select('id')
      .where('at', '<', before)
      .orderBy('at')
      .limit(ROWS)
      .execute()
    const ids = old.map(({ id }) => id)
    if (ids.length > 0) {
      await db
        .deleteFrom('decision_actions')
        .where('decision_id', 'in', ids)
        .where('ended_at', 'is not', null)
        .execute()
      await db.deleteFrom('decision_execution_log').where('id', 'in', ids).execute()
    }
    if (ids.length < ROWS) break
    // After days without a coordinator there are many.
    await setImmediate()
  }
  await db.deleteFrom('decision_parts').where('last_used_at', '<', before).execute()
}
