import { expect, test } from 'vitest'
import { certificateOf } from '../testkit/certificates.ts'
import { groupBench as bench, P, Q, R, turnoverOf } from '../testkit/group-bench.ts'
import { COORDINATOR, forcedChange, renewal } from './certificate.ts'
import { defaultLeasePolicy } from './lease.ts'

/** What was vouched for is on the successor: who may pass it over, and when it may be taken on its own word. */

const { lease } = defaultLeasePolicy
const third = [P, R, Q]

test('nobody is forced past a successor that has a whole copy, however near another one is', () => {
  const g = bench(third).settle()
  g.send({ kind: 'sync', instance: Q, sync: 'ready' })
  g.attach(R, Q)
  g.pass(lease)
  g.beat(Q)
  g.send({ kind: 'gone', instance: P })
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R, forced: false })
})

test('a successor that is not heard is waited for while it may have a copy, and passed over once it has ended', () => {
  const g = bench(third).settle()
  g.send({ kind: 'sync', instance: Q, sync: 'ready' })
  g.send({ kind: 'disconnected', instance: R })
  g.send({ kind: 'gone', instance: P })
  g.wait(3000, Q)
  expect(g.group.phase.kind).toBe('relaunching')
  expect(g.kinds()).toContain('check-instance')
  g.send({ kind: 'gone', instance: R })
  expect(g.group.phase).toMatchObject({ kind: 'voting', change: { proposal: { primary: Q, forced: true } } })
})

test('a successor with a notice of its own takes over when the primary is gone and it has the only copy', () => {
  const g = bench().settle()
  g.send({ kind: 'notice', instance: R, left: lease })
  g.send({ kind: 'gone', instance: P })
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R, forced: false })
})

test('after a restart the successor is believed about its copy if the primary was never heard', () => {
  const settled = bench().settle().group.certificate
  const g = bench().restore({ certificate: settled })
  g.connect(R, 'replica')
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  g.wait(2 * lease + 200, R)
  expect(g.group.phase).toMatchObject({ kind: 'voting', change: { proposal: { primary: R } } })
})

test('a successor that is back before the primary does not take its place before it has said that it does not hear it', () => {
  const g = bench().settle()
  g.send({ kind: 'disconnected', instance: P })
  g.send({ kind: 'disconnected', instance: R })
  g.wait(3 * lease)
  g.connect(R, 'replica')
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  g.wait(100)
  expect(g.group.phase.kind).toBe('steady')
  g.wait(1, R)
  expect(g.group.phase.kind).toBe('voting')
})

test('a primary that lost sight of its successor long before it fell silent is not replaced by it', () => {
  const g = bench().settle()
  for (let passed = 0; passed < 5200; passed += 400) {
    g.wait(400, P, R)
    g.attach()
  }
  g.wait(3 * lease, R)
  expect(g.group.phase.kind).toBe('steady')
})

test('a primary that lost sight of its successor a moment before it fell silent is replaced by it', () => {
  const g = bench().settle()
  g.wait(400, P, R)
  g.attach()
  g.wait(lease, R)
  expect(g.group.phase.kind).toBe('steady')
  g.wait(100, R)
  expect(g.group.phase).toMatchObject({ kind: 'voting', change: { proposal: { primary: R } } })
})

test('nor by a successor that still hears it, has no whole copy, or has a notice of its own', () => {
  const lost = () => {
    const g = bench().settle()
    g.wait(400, P, R)
    g.attach()
    return g
  }
  const hearing = lost()
  for (let passed = 0; passed < 2 * lease; passed += 100) {
    hearing.wait(100)
    hearing.beat(R, { hears: true })
  }
  const partial = lost()
  partial.send({ kind: 'sync', instance: R, sync: 'syncing' })
  partial.wait(2 * lease, R)
  const noticed = lost()
  noticed.send({ kind: 'notice', instance: R, left: lease })
  noticed.wait(2 * lease, R)
  expect(hearing.group.phase.kind).toBe('steady')
  for (const g of [partial, noticed]) expect(g.find('vote')).toBeUndefined()
})

test('a release that is anything else than a turnover to its target has no effect', () => {
  const g = bench(third).settle()
  const base = g.group.certificate
  if (!base) throw new Error('no certificate')
  for (const proposal of [
    forcedChange(base, 9, { instance: Q, key: 'x' }),
    renewal(base, 9),
    { ...turnoverOf(g.group), agent: 'another' as never },
  ]) {
    g.released(proposal)
    expect(g.effects).toEqual([])
    expect(g.group.phase.kind).toBe('steady')
  }
})

test('a certificate that comes late does not end a promise that was made in a later epoch', () => {
  const g = bench().settle()
  const base = g.group.certificate
  if (!base) throw new Error('no certificate')
  g.wait(lease + 1, R)
  g.write()
  const { promise } = g.group
  expect(promise?.to).toBe(R)
  const late = renewal(base, base.proposal.epoch + 1)
  // Somebody else made epoch 3 before ours was 4.
  g.group = { ...g.group, voted: { epoch: 4, primary: R } }
  g.bring(certificateOf(late, P, R), P)
  expect(g.group.promise).toEqual(promise)
})

test('two certificates of one epoch are told to the records, where that is found out', () => {
  const g = bench().settle()
  const certificate = g.group.certificate
  if (!certificate) throw new Error('no certificate')
  g.bring(certificate, R)
  expect(g.effects).toEqual([])
  g.bring(certificateOf({ ...certificate.proposal, primary: Q }, P, COORDINATOR), R)
  expect(g.kinds()).toEqual(['record'])
})

test('a successor that was deleted keeps its vote until a certificate is without it, and is then forgotten', () => {
  const g = bench().settle()
  g.send({ kind: 'left', instance: R })
  expect(g.group.members.get(R)).toMatchObject({ left: true, retired: true })
  g.wait(1500, P)
  expect(g.group.phase).toMatchObject({ kind: 'asking', change: { proposal: { successor: null } } })
  g.agree()
  g.write()
  expect(g.group.members.has(R)).toBe(false)
})

test('who is waited for after a restored database is not waited for once it was deleted', () => {
  const g = bench(third).settle()
  g.send({ kind: 'disconnected', instance: Q })
  g.send({ kind: 'outdated', voted: 1000 })
  expect([...g.group.abstainFor]).toEqual([Q])
  g.send({ kind: 'left', instance: Q })
  expect(g.group.abstainFor.size).toBe(0)
})

test('when a new primary falls silent before it is up, its successor takes over by its own word', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  g.write()
  g.win()
  g.send({ kind: 'sync', instance: P, sync: 'ready' })
  g.connect(P, 'fenced')
  g.send({ kind: 'sync', instance: P, sync: 'ready' })
  g.wait(2 * lease + 300, P)
  expect(g.group.phase).toMatchObject({ kind: 'voting', change: { proposal: { primary: P, successor: R } } })
})

test('a member that claims to have voted in an impossible epoch does not use up the numbers', () => {
  const g = bench().settle()
  g.connect(R, 'replica', { voted: Number.MAX_SAFE_INTEGER })
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  g.wait(lease + 1, R)
  expect(g.group.phase).toMatchObject({ change: { proposal: { epoch: 3 } } })
})

test('a primary that could not get its epoch again and then falls silent is replaced in an incident of its own', () => {
  const g = bench().settle()
  // Its agent was started again, and its vote for a new epoch does not come.
  g.connect(P, 'idle', { resigned: 2 })
  g.wait(5100, P, R)
  expect(g.group.phase).toMatchObject({ kind: 'failed' })
  expect(g.group.waiting).toBeUndefined()
  g.send({ kind: 'disconnected', instance: P })
  const effects = g.wait(lease + 1, R)
  const opened = effects.filter(({ kind }) => kind === 'incident-opened')
  expect(opened).toMatchObject([{ incident: { trigger: 'silence', instance: P } }])
  g.write()
  g.win()
  expect(g.find('record')).toMatchObject({ facts: { previous: P, incident: { instance: P } } })
})

test('a primary that hears of an election which was given up before of its own new epoch is told the certificate too', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  g.write()
  g.pass(1)
  g.beat(P)
  g.beat(R, { hears: true })
  g.wait(0)
  g.connect(P, 'idle', { resigned: 2 })
  g.agree()
  g.wait(lease, P, R)
  g.write()
  expect(g.group).toMatchObject({ epoch: 4, phase: { kind: 'promoting', target: P } })
  g.beat(P, { epoch: 2, office: false })
  expect(g.kinds()).toEqual(['tell:votes'])
  // R has added its vote for epoch 3 after all.
  g.beat(P, { epoch: 3, office: false })
  expect(g.kinds()).toEqual(['tell:certificate', 'tell:votes'])
})

test('a new primary that stands still is waited for while nobody else could take over', () => {
  const g = bench().settle()
  g.send({ kind: 'gone', instance: P })
  g.write()
  g.win()
  g.wait(4 * lease)
  expect(g.group.phase).toMatchObject({ kind: 'promoting', target: R })
  g.beat(R)
  g.promoted()
  g.send({ kind: 'routed', epoch: g.group.epoch })
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'promoted' })
})

test('it is not waited for long, and whoever serves in the end gets a standby', () => {
  const g = bench().settle()
  g.send({ kind: 'gone', instance: P })
  g.write()
  g.win()
  g.wait(15_000)
  expect(g.group.phase.kind).toBe('failed')
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'failed' })
  expect(g.find('replica-wanted')).toMatchObject({ why: 'replaced' })
})

test('nor while another could take over', () => {
  const g = bench(third).settle()
  g.released()
  g.write()
  g.wait(2 * lease, P, Q)
  expect(g.find('incident-closed')).toBeUndefined()
  expect(g.group.phase).toMatchObject({ kind: 'voting', change: { proposal: { primary: P } } })
})
