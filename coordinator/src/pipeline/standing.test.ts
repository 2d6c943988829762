import { hours } from '@understudy/shared/core/time'
import type { Policy } from '@understudy/shared/pipeline/context'
import { defaultInstanceConfig } from '@understudy/shared/pipeline/instance-config'
import { orderOf } from '@understudy/shared/pipeline/testing'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { expect, test } from 'vitest'
import { createPolicies } from './pipeline-input.ts'
import { createStanding } from './standing.ts'

test('how old a price may be at the moment of acting is what it may be when it is decided', async () => {
  let settings: Partial<Policy> = {}
  const standingOf = createStanding({
    targets: { one: () => Promise.resolve(undefined), movesLeft: () => Promise.resolve(1) },
    configs: { get: (id) => Promise.resolve(defaultInstanceConfig(id)) },
    actions: { lastFailure: () => Promise.resolve(null) },
    sourcesOf: () =>
      Promise.resolve({ pools: [], offered: [], factsOf: () => undefined, interruptionOf: () => 0 }),
    policyOf: createPolicies(() => settings),
    voluntaryMovesAllowed: () => ({ allowed: true, reason: '' }),
    clock: createVirtualTime().clock,
  })
  expect((await standingOf(orderOf())).maxPriceAge).toBe(hours(6))
  settings = { maxPriceAge: hours(12) }
  expect((await standingOf(orderOf())).maxPriceAge).toBe(hours(12))
})
