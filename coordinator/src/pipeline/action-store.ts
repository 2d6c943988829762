import { type Instant, instant } from '@understudy/shared/core/time'
import type { Order } from '@understudy/shared/pipeline/preconditions'
import type { DecisionActionRow, Kysely, Schema } from '../storage/database.ts'
import type { ActionResult, ActionStatus } from './actuators/actuator.ts'

/** What was done about decisions. One that is open holds its target: there is never a second one. */
export interface ActionStore {
  find(decisionId: string): Promise<ActionResult | undefined>
  /** Writes down what came of it. The first word on a decision stands. */
  note(order: Order, result: ActionResult, at: Instant): Promise<void>
  /** Takes the target for this decision. False when another action has it, or this one was begun before. */
  begin(order: Order, result: ActionResult, at: Instant): Promise<boolean>
  end(decisionId: string, result: ActionResult, at: Instant): Promise<void>
  /** When a move of this target to this pool has failed last. @param since what was decided before does not count */
  lastFailure(order: Pick<Order, 'targetId' | 'targetPoolId'>, since: Instant): Promise<Instant | null>
  /** Begun and not ended, the oldest first. */
  open(): Promise<readonly Order[]>
}

export function createActionStore(db: Kysely<Schema>): ActionStore {
  const insert = async (row: DecisionActionRow): Promise<boolean> => {
    const { numInsertedOrUpdatedRows } = await db
      .insertInto('decision_actions')
      .values(row)
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    return numInsertedOrUpdatedRows === 1n
  }
  return {
    async find(decisionId) {
      const row = await db
        .selectFrom('decision_actions')
        .select(['status', 'reason'])
        .where('decision_id', '=', decisionId)
        .executeTakeFirst()
      return row && { status: row.status as ActionStatus, reason: row.reason }
    },
    async note(order, result, at) {
      await insert({ ...toRow(order, result, at), ended_at: at })
    },
    begin: (order, result, at) => insert({ ...toRow(order, result, at), ended_at: null }),
    async end(decisionId, result, at) {
      await db
        .updateTable('decision_actions')
        .set({ status: result.status, reason: result.reason, ended_at: at })
        .where('decision_id', '=', decisionId)
        .execute()
    },
    async lastFailure({ targetId, targetPoolId }, since) {
      const row = await db
        .selectFrom('decision_execution_log as log')
        .innerJoin('decision_actions as act', 'act.decision_id', 'log.id')
        .select('act.ended_at')
        .where('log.target_id', '=', targetId)
        .where('log.at', '>=', since)
        .where('log.target_pool_id', '=', targetPoolId)
        .where('log.decision', '=', 'SWITCH')
        .where('act.status', '=', 'failed')
        .where('act.ended_at', 'is not', null)
        .orderBy('act.ended_at', 'desc')
        .limit(1)
        .executeTakeFirst()
      return row?.ended_at == null ? null : instant(row.ended_at)
    },
    async open() {
      const rows = await db
        .selectFrom('decision_actions')
        .select('body')
        .where('ended_at', 'is', null)
        .orderBy('started_at')
        .execute()
      return rows.map(({ body }) => JSON.parse(body) as Order)
    },
  }
}

const toRow = (order: Order, { status, reason }: ActionResult, at: Instant) => ({
  decision_id: order.decisionId,
  target_id: order.targetId,
  engine: order.engine,
  actuator: order.actuator,
  level: order.level,
  status,
  reason,
  body: JSON.stringify(order),
  started_at: at,
})
