import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { millis } from '@understudy/shared/core/time'
import { COORDINATOR, firstProposal, succession } from '@understudy/shared/failover/certificate'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { newVoterKey } from '@understudy/shared/protocol/vote-signing'
import { certify } from '@understudy/shared/testkit/signers'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openVoterFile } from './voter-record.ts'

const A = instanceId('i-aaaa')
let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'understudy-voter-file-'))
  path = join(directory, 'voter.json')
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

test('begins with a key of its own, which stays', () => {
  const { key, memory } = openVoterFile(path, A)
  expect(memory).toEqual({
    record: undefined,
    coordinatorStart: 0,
    coordinatorStartProof: '',
    coordinatorKey: undefined,
    policy: defaultLeasePolicy,
  })
  expect(openVoterFile(path, A).key.publicKey).toBe(key.publicKey)
  expect(readdirSync(directory)).toEqual(['voter.json', 'voter.json.next'])
})

test('what was saved is there again, bit for bit', () => {
  const file = openVoterFile(path, A)
  const coordinator = newVoterKey()
  const keys = { [A]: file.key.publicKey, [COORDINATOR]: coordinator.publicKey }
  const certificate = certify(firstProposal(agentId('one'), 1, A, keys), { [COORDINATOR]: coordinator })
  const other = instanceId('i-bbbb')
  const pending = succession(certificate, 2, { instance: other, key: newVoterKey().publicKey })
  const saved = {
    record: {
      certificate,
      chain: [certificate],
      voted: { epoch: 2, primary: A, digest: 'd'.repeat(64) },
      pending,
      resigned: 0,
    },
    coordinatorStart: 7,
    coordinatorStartProof: 'proof of 7',
    coordinatorKey: coordinator.publicKey,
    policy: { ...defaultLeasePolicy, lease: millis(5000) },
  }
  file.save({ record: saved.record })
  const { record: _, ...told } = saved
  file.save(told)
  expect(openVoterFile(path, A).memory).toEqual(saved)
  file.save({ record: { ...saved.record, pending: undefined } })
  expect(openVoterFile(path, A).memory.record?.pending).toBeUndefined()
})

test('any change of the file is noticed, and is never taken for a new beginning', () => {
  const file = openVoterFile(path, A)
  file.save({ coordinatorStart: 5 })
  const padded = readFileSync(path, 'utf8')
  const whole = padded.trimEnd()
  for (let cut = 0; cut < whole.length; cut += 97) {
    writeFileSync(path, whole.slice(0, cut))
    expect(() => openVoterFile(path, A), `cut at ${cut}`).toThrow('cannot be read')
  }
  for (let at = 0; at < padded.length; at += at < whole.length ? 41 : 4099) {
    const other = whole[at] === '1' ? '2' : '1'
    writeFileSync(path, padded.slice(0, at) + other + padded.slice(at + 1))
    expect(() => openVoterFile(path, A), `changed at ${at}`).toThrow('cannot be read')
  }
  writeFileSync(path, whole)
  expect(openVoterFile(path, A).memory.coordinatorStart).toBe(5)
  expect(() => openVoterFile(path, instanceId('i-bbbb'))).toThrow('it belongs to i-aaaa')
})
