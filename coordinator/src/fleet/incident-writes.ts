import { type Clock, seconds } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { IncidentRow, IncidentStepRow, Schema, Transaction } from '../storage/database.ts'
import type { GroupCommit, Write } from '../storage/group-commit.ts'

const AGAIN = seconds(1)

/** An incident as it is kept at hand, which is always newer than the database. */
interface AtHand {
  readonly row: IncidentRow
  readonly steps: readonly IncidentStepRow[]
}

/**
 * Brings incidents from memory into the database, change by change. Of one whose change could not be written everything is
 * written anew, with the next change of any incident or after a second, until it is there: nothing else would fit.
 */
export interface IncidentWrites {
  /** A change that is at hand already; `task` writes it. */
  change(incident: AtHand, task: Write<unknown>): void
  /** Everything of it has changed. */
  anew(incident: AtHand): void
}

export function createIncidentWrites(
  commit: Pick<GroupCommit, 'soon'>,
  clock: Clock,
  log: Logger,
): IncidentWrites {
  const behind = new Set<AtHand>()
  let isTimed = false

  function write(incident: AtHand, task: Write<unknown>): void {
    commit.soon(task).catch((error: unknown) => {
      log.error({ event: 'incident.not_written', incident: incident.row.id, err: error })
      behind.add(incident)
      if (!isTimed) clock.timer(AGAIN, onTime)
      isTimed = true
    })
  }

  const anew = (incident: AtHand): void => write(incident, (tx) => writeAll(tx, incident))

  function onTime(): void {
    isTimed = false
    catchUp()
  }

  function catchUp(): void {
    const late = [...behind]
    behind.clear()
    for (const incident of late) anew(incident)
  }

  return {
    change(incident, task) {
      const isLate = behind.has(incident)
      catchUp()
      if (!isLate) write(incident, task)
    },
    anew,
  }
}

/** As it is at hand when this is written. */
async function writeAll(tx: Transaction<Schema>, { row, steps }: AtHand): Promise<void> {
  const { id, ...rest } = row
  await tx
    .insertInto('spot_interruption_events')
    .values({ id, ...rest })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(rest))
    .execute()
  await tx.deleteFrom('incident_steps').where('incident_id', '=', id).execute()
  if (steps.length > 0)
    await tx
      .insertInto('incident_steps')
      .values([...steps])
      .execute()
}
