import fc from 'fast-check'
import { expect, test } from 'vitest'
import { plus } from '../core/time.ts'
import { INCIDENT, LENGTH, memberBench, PRIMARY, REPLICA } from '../testkit/member-bench.ts'
import { mayRun } from './member.ts'
import type { Hook, Member, Workload } from './member-types.ts'

const ACTIONS = [
  'go-on',
  'go-on',
  'go-on',
  'go-on',
  'go-on',
  'go-on',
  'elected',
  'elected',
  'lease',
  'lease',
  'lease',
  'no-lease',
  'hook',
  'done',
  'sealed',
  'follow',
  'fence',
  'hand-over',
  'hand-over',
  'abort',
  'advanced',
  'killed',
  'unable',
  'nothing',
] as const
interface Action {
  readonly what: (typeof ACTIONS)[number]
  /** How long before it, less than a tick of a daemon may be late. */
  readonly pause: number
  readonly ok: boolean
  readonly more: boolean
}
const action: fc.Arbitrary<Action> = fc.record({
  what: fc.constantFrom(...ACTIONS),
  pause: fc.nat(90),
  ok: fc.boolean(),
  more: fc.boolean(),
})

type Bench = ReturnType<typeof memberBench>

/** The hook that is under way, by what the workload is doing. */
const HOOKS: Partial<Record<Workload, Hook | 'kill'>> = {
  starting: 'start',
  running: 'health',
  freezing: 'freeze',
  thawing: 'thaw',
  stopping: 'stop',
  killing: 'kill',
}

/** What is under way ends well. */
function goOn(bench: Bench): void {
  const { role, workload } = bench.member
  const step = 'step' in role ? role.step : undefined
  const hook = HOOKS[workload]
  // The turn is the kill's now: the end of anything else is stale.
  if (workload === 'killing') bench.ended('kill')
  else if (step === 'applying') bench.done('applied')
  else if (step === 'draining') bench.done('drained')
  else if (step === 'sealing') bench.sealed()
  else if (step === 'releasing') bench.done('released')
  else if (hook) bench.ended(hook)
}

function perform(bench: Bench, { what, ok, more }: Action, highest: number): void {
  const { member } = bench
  const later = highest + (more ? 1 : 0)
  switch (what) {
    case 'go-on':
      goOn(bench)
      return
    case 'elected':
      // A voter announces every term once, and none that was given up.
      bench.elected(highest + 1, { fresh: more && !ok, solo: more && ok })
      return
    case 'lease':
      bench.lease({ kind: 'until', at: plus(bench.now, LENGTH) })
      return
    case 'no-lease':
      bench.lease({ kind: 'none' })
      return
    case 'hook': {
      const hook = HOOKS[member.workload]
      if (hook) bench.ended(hook, ok)
      return
    }
    case 'done':
      if (member.workload === 'killing') return
      for (const kind of ['applied', 'drained', 'released'] as const) bench.done(kind, ok)
      return
    case 'sealed':
      if (member.workload === 'killing') return
      bench.sealed(ok)
      return
    case 'follow':
      bench.order({ kind: 'follow', epoch: later, term: later, primary: PRIMARY })
      return
    case 'fence':
      bench.order({ kind: 'fence', epoch: later })
      return
    case 'hand-over':
      bench.handOver(member.epoch, more)
      return
    case 'abort':
      bench.order({ kind: 'abort-hand-over', epoch: member.epoch })
      return
    case 'advanced':
      bench.send({ kind: 'advanced', epoch: highest + 1 })
      return
    case 'killed':
      bench.send({ kind: 'killed', left: !ok })
      return
    case 'unable':
      bench.send({ kind: 'unable', why: 'no space left' })
      return
    case 'nothing':
      bench.wait(0)
  }
}

const isClosed = ({ role }: Member): boolean =>
  role.kind === 'released' || (role.kind === 'fenced' && role.next === undefined)

function check(bench: Bench, before: Member, closed: number): void {
  const { member } = bench
  expect(member.epoch, 'M2').toBeGreaterThanOrEqual(before.epoch)
  if (member.exposed && !mayRun(member, bench.now)) expect(member.workload, 'M1').toBe('killing')
  if (!bench.active) expect(member.workload, 'a restarted daemon must look after it').toBe('stopped')
  checkEffects(bench, closed)
}

/** M3 and M4, and that what must not be forgotten is on disk before anybody acts on it. */
function checkEffects(bench: Bench, closed: number): void {
  const { effects, member } = bench
  for (const [index, effect] of effects.entries()) {
    const isBegin = effect.kind === 'hook' && effect.hook !== 'stop'
    if (isBegin) expect(member.epoch, `${effect.hook} after the epoch was given up`).toBeGreaterThan(closed)
    if (effect.kind !== 'report') continue
    const { kind } = effect.report
    if (kind === 'promoted' || kind === 'hand-over-failed') continue
    const begins = effects.slice(index).some((next) => next.kind === 'hook')
    if (!begins) expect(member.exposed, kind).toBe(false)
    if (kind === 'promotion-failed' || kind === 'fenced') continue
    expect(effects[index - 1], kind).toMatchObject({ kind: 'persist' })
  }
}

test('M1 to M4 hold whatever happens to a member, as long as its clock is looked at', () => {
  const reached = new Map<string, number>()
  const hit = (what: string) => reached.set(what, (reached.get(what) ?? 0) + 1)
  fc.assert(
    fc.property(fc.array(action, { minLength: 10, maxLength: 80 }), (actions) => {
      const bench = memberBench()
      let highest = 0
      let closed = 0
      for (const step of actions) {
        for (const run of [() => bench.wait(step.pause), () => perform(bench, step, highest)]) {
          const before = bench.member
          if (isClosed(before)) closed = Math.max(closed, before.epoch)
          run()
          const { member } = bench
          check(bench, before, closed)
          highest = Math.max(highest, member.epoch)
          hit(`${member.role.kind}${'step' in member.role ? `/${member.role.step}` : ''}`)
          for (const kind of bench.reports()) hit(`report ${kind}`)
        }
      }
    }),
    { numRuns: 1500, seed: 5 },
  )
  const wanted = [
    'idle',
    'replica',
    'primary',
    'released',
    'fenced',
    ...['applying', 'starting', 'thawing', 'checking'].map((step) => `promoting/${step}`),
    ...['draining', 'freezing', 'sealing', 'releasing'].map((step) => `handing-over/${step}`),
    ...['promoted', 'promotion-failed', 'released', 'hand-over-failed', 'fenced'].map(
      (kind) => `report ${kind}`,
    ),
  ]
  for (const what of wanted) expect(reached.get(what) ?? 0, what).toBeGreaterThan(0)
})

test('M1: however the hooks behave, nothing runs when the lease has ended', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(90), { minLength: 30, maxLength: 40 }), fc.boolean(), (pauses, hands) => {
      const bench = memberBench()
      bench.elected(1)
      bench.done('applied')
      bench.ended('start')
      bench.ended('health')
      if (hands) bench.handOver(1)
      const end = bench.now + LENGTH
      let killed = false
      // No hook ever ends.
      for (const pause of pauses) {
        bench.wait(pause)
        killed ||= bench.kinds().includes('kill')
        if (bench.now >= end) expect(killed).toBe(true)
      }
    }),
    { numRuns: 200, seed: 5 },
  )
})

test('a hand-over names what was asked for, to the end', () => {
  const bench = memberBench()
  bench.elected(1)
  bench.done('applied')
  bench.ended('start')
  bench.ended('health')
  bench.handOver(1)
  bench.done('drained')
  bench.ended('freeze')
  bench.send({ kind: 'sealed', turn: bench.member.turn, ok: true, seq: 9, left: { bytes: 5, names: 1 } })
  bench.done('released')
  expect(bench.effects).toContainEqual({
    kind: 'report',
    report: {
      kind: 'released',
      epoch: 1,
      incident: INCIDENT,
      target: REPLICA,
      seq: 9,
      left: { bytes: 5, names: 1 },
    },
  })
})
