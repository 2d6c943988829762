import { AppError } from '@understudy/shared/core/app-error'
import { incidentId } from '@understudy/shared/core/ids'
import type { Report } from '@understudy/shared/protocol/link'
import { reportSchema } from '@understudy/shared/protocol/link'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { expect, test } from 'vitest'
import { createEmergencySnapshot } from './emergency-snapshot.ts'
import type { SnapshotService } from './snapshot-service.ts'

const INCIDENT = incidentId('00000000-0000-4000-8000-000000000001')

async function told(service: Pick<SnapshotService, 'takeNow'> | undefined): Promise<Report[]> {
  const reports: Report[] = []
  const { clock } = createVirtualTime()
  createEmergencySnapshot({ service, report: (report) => reports.push(reportSchema.parse(report)), clock })(
    INCIDENT,
  )
  await new Promise((resolve) => setImmediate(resolve))
  return reports
}

test('a snapshot that was made is a step of the incident, with what it is', async () => {
  const taken = { snapshot: { id: '20261121T071943Z-4-3', epoch: 4 }, bytesSent: 512 }
  const service = { takeNow: () => Promise.resolve(taken) } as unknown as SnapshotService
  expect(await told(service)).toMatchObject([
    {
      ...{ kind: 'step', step: 'emergency-snapshot', incident: INCIDENT, ok: true },
      detail: 'snapshot 20261121T071943Z-4-3 of epoch 4 is in the store, 512 bytes were sent for it',
    },
  ])
})

test('that there is no store, or that it cannot be written, is told as it is', async () => {
  expect(await told(undefined)).toMatchObject([{ ok: false, detail: 'no snapshot_store is configured' }])
  const full = { takeNow: () => Promise.reject(new AppError('unavailable', 'the store does not answer')) }
  expect(await told(full)).toMatchObject([{ ok: false, detail: 'the store does not answer' }])
})
