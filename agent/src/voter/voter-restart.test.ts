import { EventEmitter } from 'node:events'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { beforeEach, expect, test, vi } from 'vitest'
import type { PeerIdentity } from '../identity/identity.ts'
import type { Note } from './thread-messages.ts'
import { openVoter } from './voter.ts'

/** A thread that does what a test says. As a real one, it ends some time after it was told to. */
class Thread extends EventEmitter {
  static all: Thread[] = []
  static onStart: (thread: Thread) => void = () => undefined
  ended = false
  constructor() {
    super()
    Thread.all.push(this)
    setImmediate(() => Thread.onStart(this))
  }
  postMessage(): void {}
  say(note: Note): void {
    this.emit('message', note)
  }
  end(): void {
    if (this.ended) return
    this.ended = true
    this.emit('exit', 0)
  }
  terminate(): Promise<number> {
    return new Promise((resolve) =>
      setImmediate(() => {
        this.end()
        resolve(0)
      }),
    )
  }
}

vi.mock('node:worker_threads', () => ({
  // The class is not there yet when this is called.
  Worker: new Proxy(class {}, { construct: () => new Thread() }),
}))

const failed: Note = { kind: 'failed', code: 'port_in_use', message: 'the port is taken', hint: undefined }
const succeeds = (thread: Thread) => thread.say({ kind: 'ready', port: 7, key: 'k' })
const alive = () => Thread.all.filter(({ ended }) => !ended).length

beforeEach(() => {
  Thread.all = []
  Thread.onStart = succeeds
})

async function opened() {
  const time = createVirtualTime()
  const identity = { current: undefined, onRenewal: () => () => undefined } as unknown as PeerIdentity
  const voter = await openVoter({
    agent: agentId('one'),
    self: instanceId('i-aaaa'),
    path: '/nowhere/voter.json',
    url: 'ws://127.0.0.1:9/x',
    credential: 'x',
    identity,
    host: '127.0.0.1',
    port: 0,
    workloadKey: 'k/test',
    clock: time.clock,
    // The longest waits: 100 ms, and twice as long each time, up to 5 s.
    random: () => 1,
    log: pino({ level: 'silent' }),
  })
  let most = alive()
  return {
    voter,
    time,
    /** The most threads that there were at a time, looking every 50 ms. */
    async watch(length: number) {
      for (let passed = 0; passed < length; passed += 50) {
        await time.advance(50)
        most = Math.max(most, alive())
      }
      return most
    },
  }
}

test.each<[string, (thread: Thread) => void, number, number]>([
  [
    'says why and then ends',
    (thread) => {
      thread.say(failed)
      thread.end()
    },
    10_000,
    8,
  ],
  ['says why and has to be ended', (thread) => thread.say(failed), 10_000, 8],
  ['ends without a word', (thread) => thread.end(), 10_000, 8],
  ['says nothing at all', () => undefined, 70_000, 4],
])(
  'a thread that %s when it is started again is followed by one other, each later',
  async (_, fails, length, most) => {
    const { voter, watch } = await opened()
    Thread.onStart = fails
    Thread.all[0]?.end()
    expect(await watch(length)).toBe(1)
    expect(Thread.all.length).toBeGreaterThan(3)
    expect(Thread.all.length).toBeLessThanOrEqual(most + 1)
    Thread.onStart = succeeds
    expect(await watch(26_000)).toBe(1)
    expect(alive()).toBe(1)
    expect(voter.degraded).toEqual([])
  },
)

test('a thread that fails at work is ended, and is followed by one other', async () => {
  const { voter, watch } = await opened()
  Thread.all[0]?.say(failed)
  expect(voter.degraded.map(({ code }) => code)).toEqual(['voter_restarting'])
  expect(await watch(1000)).toBe(1)
  expect(Thread.all.map(({ ended }) => ended)).toEqual([true, false])
  expect(voter.degraded).toEqual([])
})

test('what is released while there is no thread is answered at once, and once', async () => {
  const { voter, watch } = await opened()
  const effects: unknown[] = []
  const nothing = () => undefined
  voter.on({
    onEffect: (effect) => effects.push(effect),
    onLease: nothing,
    onPrepare: async () => false,
    onKilled: nothing,
    onFailed: nothing,
  })
  Thread.all[0]?.end()
  voter.release(7, instanceId('i-bbbb'), { incident: null, fresh: false })
  expect(effects).toEqual([expect.objectContaining({ kind: 'released', turn: 7, ok: false })])
  await watch(1000)
  Thread.all[1]?.end()
  expect(effects).toHaveLength(1)
})

test('one that cannot be opened leaves no thread behind', async () => {
  Thread.onStart = (thread) => thread.say(failed)
  await expect(opened()).rejects.toMatchObject({ code: 'port_in_use' })
  expect(alive()).toBe(0)
})
