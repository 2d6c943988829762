import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Mono, mono } from '../core/time.ts'
import { certificateOf, digestOf, keyOf, P, Q, R } from '../testkit/certificates.ts'
import { askFor, FIRST, inOfficeBench, PAIR, voterBench, votesOf } from '../testkit/voter-bench.ts'
import {
  COORDINATOR,
  forcedChange,
  type Proposal,
  renewal,
  succession,
  turnover,
  type VoterId,
  votersOf,
} from './certificate.ts'
import { defaultLeasePolicy } from './lease.ts'
import { inOffice, type Voter } from './voter.ts'

const { lease } = defaultLeasePolicy
const LENGTH = lease * 0.98
const OTHERS: readonly VoterId[] = [COORDINATOR, P, R, Q]
const INSTANCES = [P, R, Q]

const ACTIONS = [
  'wait',
  'wait',
  'pulse',
  'ack',
  'ack',
  'beat',
  'ask',
  'ask',
  'votes',
  'votes',
  'vote',
  'certificate',
  'release',
  'resign',
  'campaign',
  'tilt',
  'restart',
  'behind',
] as const
interface Action {
  readonly what: (typeof ACTIONS)[number]
  readonly who: number
  readonly pick: number
  readonly size: number
}
const action: fc.Arbitrary<Action> = fc.record({
  what: fc.constantFrom(...ACTIONS),
  who: fc.nat(3),
  pick: fc.nat(7),
  size: fc.nat(1500),
})

type Bench = ReturnType<typeof voterBench>

const at = <T>(list: readonly T[], index: number): T => {
  const value = list[index % list.length]
  if (value === undefined) throw new Error('an empty list')
  return value
}

/** Some change of the certificate that the voter knows, with a number near what it has voted for. */
function changeOf(bench: Bench, { pick, size }: Action): Proposal {
  const { certificate = FIRST, voted } = bench.voter.record
  const epoch = Math.max(1, voted.epoch + (size % 4) - 1)
  const other = at(INSTANCES, size)
  const next = { instance: other, key: keyOf(other) }
  const changes = [
    turnover(certificate, epoch),
    renewal(certificate, epoch),
    renewal(certificate, epoch),
    succession(certificate, epoch, next),
    succession(certificate, epoch, undefined),
    forcedChange(certificate, epoch, next),
    turnover(certificate, epoch),
  ]
  return changes[pick] ?? renewal(certificate, epoch)
}

/** Votes of others; ours only we can give. */
const othersOf = (bench: Bench, count: number): VoterId[] =>
  votersOf((bench.voter.record.certificate ?? FIRST).proposal)
    .filter((voter) => voter !== bench.voter.self)
    .slice(0, 1 + (count % 2))

/** What a network and the others may do to a voter. Nobody forges a signature, and nobody says what it was not told. */
function perform(bench: Bench, step: Action, told: Mono[]): void {
  const { self } = bench.voter
  const from = at(
    OTHERS.filter((id) => id !== self),
    step.who,
  )
  const echo = told.length === 0 ? undefined : at(told, step.size)
  const gone = step.size % 5 === 0 ? [at(INSTANCES, step.who)] : []
  switch (step.what) {
    case 'wait':
      bench.wait(step.size)
      return
    case 'pulse':
      bench.pulse()
      return
    case 'ack':
      if (echo !== undefined) bench.ack(from, echo, mono(step.size))
      return
    case 'beat':
      bench.hear(from, {
        kind: 'beat',
        epoch: bench.epoch,
        sentAt: mono(step.size),
        hears: false,
        office: true,
      })
      return
    case 'ask':
      bench.hear(from, askFor(changeOf(bench, step), { gone, sentAt: mono(step.size) }))
      return
    case 'votes':
      bench.hear(
        from,
        votesOf(changeOf(bench, step), othersOf(bench, step.who), { gone, ...(echo ? { echo } : {}) }),
      )
      return
    case 'vote': {
      const proposal = bench.voter.candidate?.proposal
      const vote = { voter: from, signature: '', echo: echo ?? null }
      if (proposal) bench.hear(from, { kind: 'vote', proposal, vote })
      return
    }
    case 'certificate':
      bench.learn(certificateOf(changeOf(bench, step), ...othersOf(bench, 1)))
      return
    case 'behind': {
      const certificate = bench.voter.record.chain[step.size % 16] ?? null
      bench.hear(from, { kind: 'behind', voted: step.size % 7, certificate })
      return
    }
    case 'release':
      bench.release(at(INSTANCES, step.who))
      return
    case 'resign':
      bench.send({ kind: 'resign', epoch: Math.max(0, bench.epoch + (step.size % 3) - 1) })
      return
    case 'campaign':
      bench.send({ kind: 'campaign' })
      return
    case 'tilt':
      bench.send({ kind: 'tilt' })
      return
    case 'restart':
      bench.restart()
      told.length = 0
  }
}

/** The clock readings that we have given away in this step: what others may send back. */
const readings = (bench: Bench): Mono[] =>
  bench.effects.flatMap((effect) => {
    if (!('message' in effect)) return []
    const { message } = effect
    if (message.kind === 'beat') return [message.sentAt]
    if (message.kind === 'ack') return [message.at]
    return message.kind === 'ask' && message.sentAt !== null ? [message.sentAt] : []
  })

/** Everything that carries a signature of ours, by the epoch that it is about. */
const signedBy = (bench: Bench): Proposal[] =>
  bench.effects.flatMap((effect): Proposal[] => {
    const { self } = bench.voter
    if (effect.kind === 'certified')
      return effect.certificate.votes.some(({ voter }) => voter === self) ? [effect.certificate.proposal] : []
    if (effect.kind === 'released') return effect.vote ? [effect.vote.proposal] : []
    if (!('message' in effect)) return []
    const { message } = effect
    if (message.kind === 'vote') return [message.proposal]
    if (message.kind === 'ask') return [message.proposal]
    return message.kind === 'votes' ? [message.proposal] : []
  })

/** A copy, as a voter is never changed in place. */
interface Before {
  readonly voter: Voter
  readonly epoch: number
}

function check(bench: Bench, before: Before, signed: Map<number, string>, latest: Mono): void {
  const { record } = bench.voter
  const old = before.voter.record
  // V1, and nothing is ever taken back.
  expect(record.voted.epoch).toBeGreaterThanOrEqual(old.voted.epoch)
  expect(record.resigned).toBeGreaterThanOrEqual(old.resigned)
  expect(bench.epoch).toBeGreaterThanOrEqual(before.epoch)
  expect(record.chain.length).toBeLessThanOrEqual(16)
  for (const proposal of signedBy(bench)) {
    const digest = digestOf(proposal)
    expect(signed.get(proposal.epoch) ?? digest).toBe(digest)
    signed.set(proposal.epoch, digest)
    expect(record.voted.epoch).toBeGreaterThanOrEqual(proposal.epoch)
  }
  // On disk before anybody hears of it.
  if (record !== old && bench.effects.length > 0) {
    const written = bench.effects.findLastIndex(({ kind }) => kind === 'persist')
    expect(bench.effects[written]).toEqual({ kind: 'persist', record })
    const first = bench.effects.findIndex(
      (effect) => 'message' in effect && ['vote', 'votes', 'ask'].includes(effect.message.kind),
    )
    if (first >= 0) expect(written).toBeLessThan(first)
  }
  // V3
  const held = bench.lease()
  if (held.kind === 'until') expect(held.at).toBeLessThanOrEqual(latest + LENGTH)
  // V4
  if (inOffice(bench.voter)) {
    expect(record.certificate?.proposal.primary).toBe(bench.voter.self)
    expect(record.resigned).toBeLessThan(record.certificate?.proposal.term ?? 0)
  } else expect(held.kind).toBe('none')
  if (bench.effects.some(({ kind }) => kind === 'elected')) expect(inOffice(bench.voter)).toBe(true)
}

const STARTS: readonly (() => Bench)[] = [
  inOfficeBench,
  () => voterBench(R).learn(FIRST, PAIR),
  () => voterBench(Q).learn(FIRST, PAIR),
  () => voterBench(P),
]

test('V1 to V5 hold for a primary, a successor, a learner and a newcomer, whatever happens to them', () => {
  const reached = { elected: 0, votes: 0, released: 0, advanced: 0 }
  fc.assert(
    fc.property(
      fc.constantFrom(...STARTS),
      fc.array(action, { minLength: 5, maxLength: 60 }),
      (start, actions) => {
        const bench = start()
        const signed = new Map<number, string>()
        const told: Mono[] = [bench.now]
        let office = -1
        for (const step of actions) {
          bench.wait(0)
          const before = { voter: bench.voter, epoch: bench.epoch }
          perform(bench, step, told)
          told.push(...readings(bench))
          check(bench, before, signed, bench.now)
          const elected = bench.find('elected')?.certificate.proposal.term
          // The role is told once per term, also over restarts.
          if (elected !== undefined) expect(elected).toBeGreaterThan(office)
          office = elected ?? office
          if (elected !== undefined) reached.elected += 1
          if (bench.said('vote')) reached.votes += 1
          if (bench.find('released')?.ok) reached.released += 1
          if (bench.find('advanced')) reached.advanced += 1
        }
      },
    ),
    { numRuns: 1500, seed: 7 },
  )
  expect(Math.min(...Object.values(reached)), JSON.stringify(reached)).toBeGreaterThan(20)
})

/** The newest of what came back bounds every lease: never the moment at which it came. */
test('V3: no lease ends later than the newest heartbeat that was answered allows', () => {
  const acks = fc.array(fc.record({ age: fc.nat(1500), delay: fc.nat(700), who: fc.nat(1) }), {
    minLength: 1,
    maxLength: 30,
  })
  fc.assert(
    fc.property(acks, (list) => {
      const bench = inOfficeBench()
      let newest = bench.now
      for (const { age, delay, who } of list) {
        bench.wait(delay)
        const sentAt = mono(bench.now - Math.min(age, bench.now))
        bench.ack(at([COORDINATOR, R], who), sentAt)
        newest = mono(Math.max(newest, sentAt))
        expect(bench.lease()).toEqual({ kind: 'until', at: newest + LENGTH })
      }
    }),
    { numRuns: 200, seed: 7 },
  )
})

const TEMPTATIONS = [
  'wait',
  'wait',
  'pulse',
  'beat',
  'beat',
  'renew',
  'force',
  'votes',
  'restart',
  'tilt',
] as const

/** Nobody of whom a promise is known to be void, and no vote of its holder: only time frees the voter. */
function tempt(bench: Bench, what: (typeof TEMPTATIONS)[number], size: number): void {
  const { certificate = FIRST, voted } = bench.voter.record
  const epoch = voted.epoch + 1
  const holder = certificate.proposal.primary
  switch (what) {
    case 'wait':
      bench.wait(size)
      return
    case 'beat':
      if (holder !== R)
        bench.hear(holder, {
          kind: 'beat',
          epoch: bench.epoch,
          sentAt: bench.now,
          hears: false,
          office: true,
        })
      return
    case 'renew':
      bench.hear(holder, askFor(renewal(certificate, epoch)))
      return
    case 'force':
      bench.hear(COORDINATOR, askFor(forcedChange(certificate, epoch, { instance: Q, key: keyOf(Q) })))
      return
    case 'votes': {
      const over = turnover(certificate, epoch)
      if (over) bench.hear(COORDINATOR, votesOf(over, [COORDINATOR]))
      return
    }
    case 'restart':
      bench.restart()
      return
    default:
      bench.send({ kind: what })
  }
}

test('V2: what was promised is kept, also over restarts', () => {
  const steps = fc.array(fc.record({ what: fc.constantFrom(...TEMPTATIONS), size: fc.nat(700) }), {
    minLength: 10,
    maxLength: 60,
  })
  let votes = 0
  fc.assert(
    fc.property(steps, (list) => {
      const bench = voterBench(R).learn(FIRST, PAIR)
      const promised = new Map<string, Mono>()
      for (const { what, size } of list) {
        const holder = bench.voter.record.certificate?.proposal.primary ?? P
        bench.wait(0)
        tempt(bench, what, size)
        for (const { primary } of signedBy(bench)) {
          const others = [...promised].filter(([to]) => to !== primary)
          for (const [, until] of others) expect(bench.now).toBeGreaterThanOrEqual(until)
          promised.set(primary, mono(bench.now + lease))
          votes += 1
        }
        if (bench.said('ack')) promised.set(holder, mono(bench.now + lease))
      }
    }),
    { numRuns: 500, seed: 11 },
  )
  expect(votes).toBeGreaterThan(100)
})
