import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { expect, test } from 'vitest'
import type { Principal, Role } from '../http/http.ts'
import { whileAllowed } from './while-allowed.ts'

const viewer: Principal = { kind: 'operator', name: 'v', role: 'viewer', viaCookie: true }

function start(role: Role = 'viewer') {
  const time = createVirtualTime()
  const seen = { asked: 0, still: [] as Principal[], ended: 0 }
  let who: () => Promise<Principal | undefined> = async () => viewer
  const close = whileAllowed({
    ...{ clock: time.clock, role },
    whoNow() {
      seen.asked += 1
      return who()
    },
    onStill: (principal) => seen.still.push(principal),
    onEnd() {
      seen.ended += 1
    },
  })
  const answer = (next: typeof who) => {
    who = next
  }
  return { time, seen, answer, close }
}

test('whoever listens is asked for every five seconds, until the socket has closed', async () => {
  const { time, seen, close } = start()
  await time.advance(4999)
  expect(seen.asked).toBe(0)
  await time.advance(10_001)
  expect(seen).toEqual({ asked: 3, still: [viewer, viewer, viewer], ended: 0 })
  close()
  await time.advance(60_000)
  expect([seen.asked, time.pending()]).toEqual([3, 0])
})

test.each<[string, Principal | undefined, Role]>([
  ['a login that has ended', undefined, 'viewer'],
  ['a role that does not suffice', viewer, 'operator'],
  ['an agent', { kind: 'agent', agentId: 'a', instanceId: 'i' }, 'viewer'],
])('%s ends it once, and nobody is asked for again', async (_, now, role) => {
  const { time, seen, answer } = start(role)
  answer(async () => now)
  await time.advance(60_000)
  expect([seen, time.pending()]).toEqual([{ asked: 1, still: [], ended: 1 }, 0])
})

test('while nobody can say who it is, it stays open; it ends once somebody can', async () => {
  const { time, seen, answer } = start()
  answer(() => Promise.reject(new Error('the database is away')))
  await time.advance(20_000)
  expect(seen).toEqual({ asked: 4, still: [], ended: 0 })
  answer(async () => undefined)
  await time.advance(5000)
  expect(seen.ended).toBe(1)
})

test('what is answered after the socket has closed changes nothing, and leaves no timer', async () => {
  for (const who of [undefined, viewer]) {
    const { time, seen, answer, close } = start()
    const late = Promise.withResolvers<Principal | undefined>()
    answer(() => late.promise)
    await time.advance(5000)
    close()
    late.resolve(who)
    await time.advance(60_000)
    expect([seen, time.pending()]).toEqual([{ asked: 1, still: [], ended: 0 }, 0])
  }
})
