import type { Policy } from '@understudy/shared/pipeline/context'
import { defaultInstanceConfig } from '@understudy/shared/pipeline/instance-config'
import { defaultPolicy } from '@understudy/shared/pipeline/policy'
import { expect, test } from 'vitest'
import { createPolicies } from './pipeline-input.ts'

const target = defaultInstanceConfig('shop')

test('the same policy is the same object until somebody sets it otherwise, and then it is that at once', () => {
  let settings: Partial<Policy> = { minGainUsd: 0.01 }
  const policyOf = createPolicies(() => settings)
  const first = policyOf(target, 0.4)
  expect(first).toEqual({ ...defaultPolicy('CLUSTER_FULL'), minGainUsd: 0.01, tauReplica: 0.4 })
  expect(policyOf(target, 0.4)).toBe(first)
  expect(policyOf(target, undefined).tauReplica).toBe(defaultPolicy('CLUSTER_FULL').tauReplica)
  settings = { ranking: 'seed-v1' }
  expect(policyOf(target, 0.4)).toMatchObject({ ranking: 'seed-v1', minGainUsd: 0.002, tauReplica: 0.4 })
})
