import { instanceId } from '@understudy/shared/core/ids'
import { mono } from '@understudy/shared/core/time'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { newMember } from '@understudy/shared/failover/member'
import type { Member } from '@understudy/shared/failover/member-types'
import type { Order } from '@understudy/shared/failover/orders'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { createHandOverWatch } from './hand-over-watch.ts'
import type { Surroundings } from './own-hand-over.ts'

const A = instanceId('i-aaaa')
const B = instanceId('i-bbbb')

const primary: Member = {
  ...newMember(defaultLeasePolicy),
  epoch: 4,
  term: 3,
  role: { kind: 'primary' },
  workload: 'running',
  exposed: true,
  lease: { kind: 'until', at: mono(1e9) },
}
const handingOver = (urgent: boolean): Member['role'] => ({
  kind: 'handing-over',
  step: 'draining',
  target: B,
  budget: defaultLeasePolicy.lease,
  urgent,
})

let leaks: () => number = () => 0
afterEach(() => expect(leaks()).toBe(0))

/** A primary with its successor; what is seen, and what an order leads to, is up to the test. */
function watched(seen: Partial<Omit<Surroundings, 'now'>> = {}) {
  const time = createVirtualTime()
  const state = {
    seen: { member: primary, successor: B, peers: [B], attached: [B], linked: true, ...seen },
    certified: A,
    orders: [] as Order[],
    onOrder: (_order: Order): void => undefined,
  }
  const watch = createHandOverWatch({
    self: A,
    look: () => state.seen,
    primary: () => state.certified,
    order(order) {
      state.orders.push(order)
      state.onOrder(order)
    },
    clock: time.clock,
    log: pino({ level: 'silent' }),
  })
  leaks = time.pending
  const become = (change: Partial<Member>) => {
    state.seen = { ...state.seen, member: { ...state.seen.member, ...change } }
  }
  /** Whether the successor took over, once that is known. */
  const end = () => {
    const answer: { handedOver?: boolean } = {}
    void watch.beforeEnd().then((handedOver) => Object.assign(answer, { handedOver }))
    return answer
  }
  return { time, state, watch, become, end }
}

test('before its end it waits a moment for a successor whose line is down', async () => {
  const { time, state, become, end } = watched({ peers: [] })
  state.onOrder = () => become({ role: handingOver(false) })
  const answer = end()
  await time.advance(1500)
  expect(state.orders).toEqual([])
  state.seen = { ...state.seen, peers: [B] }
  await time.advance(100)
  expect(state.orders).toMatchObject([{ kind: 'hand-over', target: B, urgent: false }])
  become({ role: { kind: 'fenced' }, workload: 'stopped' })
  state.certified = B
  await time.advance(100)
  expect(answer).toEqual({ handedOver: true })
})

test('before its end it waits a moment for a replica that is about to be its successor', async () => {
  const { time, state, become, end } = watched({ successor: null })
  state.onOrder = () => become({ role: { kind: 'released' } })
  const answer = end()
  await time.advance(300)
  expect(answer).toEqual({})
  state.seen = { ...state.seen, successor: B }
  state.certified = B
  await time.advance(100)
  expect(state.orders).toMatchObject([{ kind: 'hand-over', target: B }])
  expect(answer).toEqual({ handedOver: true })
})

test('before its end it waits no longer than two seconds for what does not come', async () => {
  const { time, state, end } = watched({ attached: [] })
  const answer = end()
  await time.advance(1900)
  expect(answer).toEqual({})
  await time.advance(200)
  expect(answer).toEqual({ handedOver: false })
  expect(state.orders).toEqual([])
})

test.each<[string, Partial<Surroundings>]>([
  ['a primary that nobody follows', { successor: null, attached: [] }],
  ['a primary whose replica nobody can designate', { successor: null, linked: false }],
  ['a replica', { member: { ...primary, role: { kind: 'replica', primary: B }, workload: 'stopped' } }],
])('%s waits for nothing before its end', async (_, seen) => {
  const { time, end } = watched(seen)
  const answer = end()
  await time.advance(0)
  expect(answer).toEqual({ handedOver: false })
})

test('a hand-over that fails before its end is tried again while there is time', async () => {
  const { time, state, become, end } = watched()
  const triedAt: number[] = []
  state.onOrder = () => {
    triedAt.push(time.clock.mono())
    become({ role: handingOver(false) })
    time.clock.timer(defaultLeasePolicy.lease, () => become({ role: { kind: 'primary' } }))
  }
  const answer = end()
  await time.advance(11_000)
  expect(answer).toEqual({ handedOver: false })
  expect(triedAt).toEqual([0, 2000, 4000, 6000, 8000])
})

test('who has handed over and is a replica already knows it by the certificate', async () => {
  const { time, state, become, end } = watched()
  state.onOrder = () => become({ role: handingOver(false) })
  const answer = end()
  await time.advance(200)
  become({ role: { kind: 'replica', primary: B }, workload: 'stopped' })
  await time.advance(100)
  expect(answer).toEqual({})
  state.certified = B
  await time.advance(100)
  expect(answer).toEqual({ handedOver: true })
})
