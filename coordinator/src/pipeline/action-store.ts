import type { Instant } from '@understudy/shared/core/time'
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
