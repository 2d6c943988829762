import type { Clock } from '@understudy/shared/core/time'
import type { Kysely, Schema } from '../storage/database.ts'

/** Who changed what, from what to what. Every state-changing call writes one line. */
export interface Audit {
  record(entry: {
    readonly actor: string
    readonly action: string
    readonly object: string
    readonly before?: unknown
    readonly after?: unknown
  }): Promise<void>
}

export const createAudit = (db: Kysely<Schema>, clock: Clock): Audit => ({
  async record({ actor, action, object, before, after }) {
    await db
      .insertInto('audit_log')
      .values({
        at: clock.now(),
        actor,
        action,
        object,
        before: before === undefined ? null : JSON.stringify(before),
        after: after === undefined ? null : JSON.stringify(after),
      })
      .execute()
  },
})
