import type { IncidentId } from '@understudy/shared/core/ids'
import type { Clock } from '@understudy/shared/core/time'
import type { Incidents } from '../fleet/fleet.ts'

/** Writes into the record of an incident what the coordinator has decided or done, in a sentence. */
export type Notes = (id: IncidentId, step: string, detail: string, ok?: boolean) => void

export const createNotes =
  (incidents: Pick<Incidents, 'step'>, clock: Clock): Notes =>
  (id, step, detail, ok = true) =>
    incidents.step(id, {
      ...{ step, detail, ok, began: clock.mono(), at: clock.now() },
      ...{ tookMillis: null, reportedBy: 'coordinator', clock: 'coordinator', uncertaintyMillis: 0 },
    })
