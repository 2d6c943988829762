import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterAll, expect, test } from 'vitest'
import { keepCredential, readEnrolment } from './enrolment.ts'

const scratch = mkdtempSync(join(tmpdir(), 'understudy-enrolment-'))
afterAll(() => rmSync(scratch, { recursive: true }))

test('a renewed credential that cannot be written is told, and written as soon as it can be', async () => {
  const time = createVirtualTime()
  const path = join(scratch, 'later', 'enrolment.json')
  const enrolment = {
    agentId: agentId('one'),
    instanceId: instanceId('i-one'),
    credential: 'old',
    privateIp: null,
  }
  const kept = keepCredential(path, enrolment, time.clock, pino({ level: 'silent' }))
  kept.keep('new')
  await expect.poll(() => kept.degraded?.message).toMatch(/^the renewed credential .*ENOENT/)
  mkdirSync(join(scratch, 'later'))
  await time.advance(10_000)
  await expect.poll(() => kept.degraded).toBeUndefined()
  expect(readEnrolment(path)).toEqual({ ...enrolment, credential: 'new' })
})
