import { incidentId, instanceId } from '@understudy/shared/core/ids'
import { millis } from '@understudy/shared/core/time'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { newMember } from '@understudy/shared/failover/member'
import type { Member, Role } from '@understudy/shared/failover/member-types'
import { expect, test } from 'vitest'
import { extrasOf } from './voter-events.ts'

const incident = incidentId('00000000-0000-4000-8000-000000000001')
const member = (role: Role): Member => ({ ...newMember(defaultLeasePolicy), incident, role })

const releasing = (urgent: boolean, sealed: (Role & { kind: 'handing-over' })['sealed']): Role => ({
  ...{ kind: 'handing-over', step: 'releasing', budget: millis(1000), urgent },
  ...{ target: instanceId('i-bbbb'), ...(sealed ? { sealed } : {}) },
})

test('the winner is told what it does not have of the state, or that it has everything', () => {
  expect(extrasOf(member(releasing(false, { seq: 7 })))).toEqual({
    ...{ incident, fresh: false, planned: true },
    left: { bytes: 0, names: 0 },
  })
  const left = { bytes: 4096, names: 2 }
  expect(extrasOf(member(releasing(true, { seq: 7, left })))).toEqual({
    ...{ incident, fresh: false, planned: false },
    left,
  })
})
