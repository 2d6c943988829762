import { AppError } from '@understudy/shared/core/app-error'
import { minutes } from '@understudy/shared/core/time'
import type { ActuatorLevel, ActuatorName } from '@understudy/shared/pipeline/instance-config'
import type { Order } from '@understudy/shared/pipeline/preconditions'
import { orderOf, standingOf } from '@understudy/shared/pipeline/testing'
import { createVirtualTime, type VirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { OpenDatabase } from '../../storage/database.ts'
import { testDatabase } from '../../storage/testing.ts'
import { type Acting, createActing } from '../acting.ts'
import { type ActionStore, createActionStore } from '../action-store.ts'
import { createAgentActuator } from './agent-actuator.ts'
import { createLogActuator } from './log-actuator.ts'
import { planActuator } from './plan-actuator.ts'
import { createFakeMoves, type FakeMoves } from './testing.ts'

const names: readonly ActuatorName[] = ['log', 'plan', 'agent']
const log = pino({ level: 'silent' })

let database: OpenDatabase
let store: ActionStore
let time: VirtualTime
let moves: FakeMoves
let standing: ReturnType<typeof standingOf>
let stop: AbortController
beforeEach(async () => {
  database = await testDatabase('sqlite')
  store = createActionStore(database.db)
  time = createVirtualTime()
  moves = createFakeMoves()
  standing = standingOf()
  stop = new AbortController()
})
afterEach(async () => {
  stop.abort()
  await database.close()
})

function acting(): Acting & { running: Promise<void> } {
  const made = createActing({
    actuators: {
      log: createLogActuator(log),
      plan: planActuator,
      agent: createAgentActuator(moves, time.clock),
    },
    store,
    standingOf: () => Promise.resolve(standing),
    clock: time.clock,
    log,
    onEnd: () => undefined,
  })
  return { ...made, running: made.run(stop.signal) }
}

/** Lets virtual time pass until nothing is under way. */
async function settle(it: Acting): Promise<void> {
  let settled = false
  void it.settled().then(() => {
    settled = true
  })
  while (!settled) await time.advance(1000)
}

async function outcome(order: Order, it = acting()) {
  await it.submit(order)
  await settle(it)
  return store.find(order.decisionId)
}

describe.each(names)('the actuator %s', (actuator) => {
  const order = (level: ActuatorLevel, more: Partial<Order> = {}) => orderOf({ actuator, level, ...more })

  test('on no level but live anything is touched, and each level says so', async () => {
    expect(await outcome(order('none'))).toMatchObject({ status: 'nothing' })
    expect(await outcome(order('log', { decisionId: 'd2' }))).toMatchObject({ status: 'logged' })
    const would = await outcome(order('dry_run', { decisionId: 'd3' }))
    expect(would).toMatchObject({ status: 'would_act', reason: expect.stringMatching(/^it would .{10}/) })
    expect(moves.calls).toEqual([])
    expect(await store.open()).toEqual([])
  })

  test('live does it once, however often it is told', async () => {
    const it = acting()
    const live = order('live')
    moves.replica('ready')
    await it.submit(live)
    const again = await it.submit(live)
    await settle(it)
    expect(['running', 'done', 'logged', 'planned']).toContain(again.status)
    const result = await outcome(live, it)
    expect(result).toMatchObject({ reason: expect.stringMatching(/.{10}/) })
    expect(['done', 'logged', 'planned']).toContain(result?.status)
    expect(moves.calls.filter((call) => call.startsWith('create')).length).toBeLessThanOrEqual(1)
    expect(await store.open()).toEqual([])
  })

  test('what was decided does not hold any more: nothing is done, and it says why', async () => {
    standing = standingOf({ primary: 'i-0other' })
    expect(await outcome(order('live'))).toMatchObject({
      status: 'refused',
      reason: expect.stringContaining('i-0other is primary'),
    })
    expect(await outcome(order('dry_run', { decisionId: 'd2' }))).toMatchObject({
      status: 'refused',
      reason: expect.stringMatching(/^it would be refused: /),
    })
    expect(moves.calls).toEqual([])
  })

  test('a signal of AWS is answered without a switch of our own', async () => {
    standing = standingOf({ openIncident: 'x', autoSwitch: false })
    const result = await outcome(order('live', { kind: 'EVACUATE', decision: 'EVACUATE' }))
    expect(['done', 'logged', 'planned']).toContain(result?.status)
    expect(moves.calls).toEqual([])
  })
})

describe('the actuator agent, live', () => {
  const live = orderOf({ actuator: 'agent', level: 'live' })

  test('a replica in the chosen pool, and when it is ready a planned switch at the epoch of then', async () => {
    standing = standingOf({ epoch: 4 })
    const it = acting()
    await it.submit({ ...live, epoch: 4 })
    await time.advance(minutes(3))
    expect(moves.calls).toEqual(['create m5.large@ap-south-1b by decision d1'])
    // That the replica follows now has changed the epoch; the term is the same.
    standing = standingOf({ epoch: 5 })
    moves.replica('ready')
    await settle(it)
    expect(moves.calls[1]).toBe('promote r1 at epoch 5, the old one ends')
    expect(await store.find('d1')).toEqual({
      status: 'done',
      reason: 'i-0new in m5.large@ap-south-1b has taken over from i-0primary',
    })
  })

  test('something has happened meanwhile: no switch, and the replica is ended', async () => {
    const it = acting()
    await it.submit(live)
    await time.advance(minutes(1))
    standing = standingOf({ autoSwitch: false })
    moves.replica('ready')
    await settle(it)
    expect(moves.calls.slice(1)).toEqual(['delete r1'])
    expect(await store.find('d1')).toMatchObject({
      status: 'refused',
      reason: expect.stringMatching(/are off; the replica that was made for it was ended/),
    })
  })

  test('where an incident is open the replica stays: it may be what saves the agent', async () => {
    const it = acting()
    await it.submit(live)
    await time.advance(minutes(1))
    standing = standingOf({ openIncident: 'x' })
    moves.replica('ready')
    await settle(it)
    expect(moves.calls).toHaveLength(1)
    expect(await store.find('d1')).toMatchObject({
      status: 'refused',
      reason: expect.stringContaining('the replica stays'),
    })
  })

  test('a replica that is never ready is given up', async () => {
    const it = acting()
    await it.submit(live)
    await settle(it)
    expect(moves.calls.slice(1)).toEqual(['delete r1'])
    expect(await store.find('d1')).toMatchObject({
      status: 'failed',
      reason: expect.stringContaining('not ready within 20 minutes'),
    })
  })

  test('votes that were just taken anew are waited for; a refusal that stays is the end', async () => {
    const it = acting()
    moves.refusals.push(new AppError('stale_epoch', 'the epoch has moved'))
    moves.replica('ready')
    await outcome(live, it)
    expect(await store.find('d1')).toMatchObject({ status: 'done' })
    moves.reset()
    moves.refusals.push(new AppError('busy', 'it is being moved already'))
    moves.replica('ready')
    expect(await outcome({ ...live, decisionId: 'd2' }, it)).toMatchObject({
      status: 'failed',
      reason: expect.stringContaining('being moved already'),
    })
  })

  test('no capacity: it fails and holds nothing', async () => {
    moves.refusals.push(new AppError('no_capacity', 'no pool is left'))
    expect(await outcome(live)).toEqual({ status: 'failed', reason: 'no pool is left' })
    expect(await store.open()).toEqual([])
  })

  test('a replica that is in that pool already is used, and is not ended when nothing comes of it', async () => {
    moves.has('r9', { pool_id: 'm5.large@ap-south-1b', status: 'ready', created_by: 'ada' })
    const it = acting()
    await it.submit(live)
    await settle(it)
    expect(moves.calls).toEqual(['promote r9 at epoch 3, the old one ends'])
  })

  test('the coordinator stops in between: the next one goes on with the same replica', async () => {
    const first = acting()
    await first.submit(live)
    await time.advance(minutes(1))
    stop.abort()
    await first.running
    expect(await store.find('d1')).toMatchObject({ status: 'running' })
    expect(time.pending()).toBe(0)
    stop = new AbortController()
    const second = acting()
    moves.replica('ready')
    await time.advance(1000)
    await settle(second)
    expect(moves.calls).toEqual([
      'create m5.large@ap-south-1b by decision d1',
      'promote r1 at epoch 3, the old one ends',
    ])
    expect(await store.find('d1')).toMatchObject({ status: 'done' })
  })

  test('what was begun and does not hold any more when the next coordinator starts makes no replica', async () => {
    await store.begin(live, { status: 'running', reason: 'it is to move' }, time.clock.now())
    standing = standingOf({ primary: 'i-0other' })
    const it = acting()
    await time.advance(1000)
    await settle(it)
    expect(moves.calls).toEqual([])
    expect(await store.find('d1')).toMatchObject({
      status: 'refused',
      reason: expect.stringContaining('i-0other is primary'),
    })
  })

  test('while one is under way there is no second one for the same agent', async () => {
    const it = acting()
    await it.submit(live)
    expect(await it.submit({ ...live, decisionId: 'd2' })).toMatchObject({
      status: 'refused',
      reason: 'another action holds shop',
    })
  })
})
