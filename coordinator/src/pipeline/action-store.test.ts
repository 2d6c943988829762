import { hours, millis, plus } from '@understudy/shared/core/time'
import { evaluate } from '@understudy/shared/pipeline/pipeline'
import { inputOf, NOW, offer, orderOf, placement } from '@understudy/shared/pipeline/testing'
import { expect, onTestFinished, test } from 'vitest'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createActionStore } from './action-store.ts'
import { createDecisionStore } from './decision-store.ts'

test.each(dialects)('which move to a pool has failed is found by its decision, on %s', async (dialect) => {
  const database = await testDatabase(dialect)
  onTestFinished(() => database.close())
  const actions = createActionStore(database.db)
  const input = inputOf([offer('c5.large', 0.02), offer('m5.large', 0.08)], {
    current: placement('m5.large'),
  })
  const outcome = evaluate(input)
  const pool = outcome.decision.target?.id ?? null
  expect([outcome.decision.decision, pool]).toEqual(['SWITCH', 'c5.large@ap-south-1a'])
  const made = { instanceId: 'i-0primary', targetId: 'shop', poolId: 'm5.large@ap-south-1a', durationMs: 1 }
  const id = await createDecisionStore(database.db).add(input, outcome, made)
  const order = orderOf({ decisionId: id, targetPoolId: pool })
  const failure = (more: Partial<typeof order> = {}, since = NOW) =>
    actions.lastFailure({ ...order, ...more }, since)
  await actions.begin(order, { status: 'running', reason: '' }, NOW)
  expect(await failure()).toBeNull()
  const ended = plus(NOW, hours(1))
  await actions.end(id, { status: 'failed', reason: 'no pool is left' }, ended)
  expect(await failure()).toBe(ended)
  expect(await failure({ targetPoolId: 'm5.large@ap-south-1b' })).toBeNull()
  expect(await failure({ targetId: 'other' })).toBeNull()
  expect(await failure({}, plus(NOW, millis(1)))).toBeNull()
})
