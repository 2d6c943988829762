import { messageOf } from '@understudy/shared/core/app-error'
import type { IncidentId } from '@understudy/shared/core/ids'
import { between, type Clock } from '@understudy/shared/core/time'
import type { Report } from '@understudy/shared/protocol/link'
import type { SnapshotService } from './snapshot-service.ts'

/** Makes a snapshot because the coordinator says so, and tells how that went as a step of its incident. */
export function createEmergencySnapshot(parts: {
  /** Undefined when no store is configured. */
  readonly service: Pick<SnapshotService, 'takeNow'> | undefined
  readonly report: (report: Report) => void
  readonly clock: Clock
}): (incident: IncidentId) => void {
  const { service, report, clock } = parts

  async function take(): Promise<string> {
    if (!service) throw new Error('no snapshot_store is configured')
    const { snapshot, bytesSent } = await service.takeNow()
    return `snapshot ${snapshot.id} of epoch ${snapshot.epoch} is in the store, ${bytesSent} bytes were sent for it`
  }

  return (incident) => {
    const began = clock.mono()
    const tell = (ok: boolean, detail: string) =>
      report({
        ...{ kind: 'step', step: 'emergency-snapshot', incident, began, ok },
        tookMillis: between(began, clock.mono()),
        at: clock.now(),
        detail: detail.slice(0, 2000),
      })
    take().then(
      (detail) => tell(true, detail),
      (error: unknown) => tell(false, messageOf(error)),
    )
  }
}
