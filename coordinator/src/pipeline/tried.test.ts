import { defaultInstanceConfig } from '@understudy/shared/pipeline/instance-config'
import { evaluate } from '@understudy/shared/pipeline/pipeline'
import { inputOf, offer, placement } from '@understudy/shared/pipeline/testing'
import { expect, test } from 'vitest'
import { digestOf } from './decision-store.ts'
import type { DecisionMade } from './evaluations.ts'
import { tellOfTried } from './tried.ts'

const input = inputOf([offer('c5.large', 0.03), offer('m5.large', 0.05)], {
  current: placement('m5.large', { instanceId: 'i-001' }),
})

const decided = (id: string, change: object) => ({
  config: { ...defaultInstanceConfig(id), ...change },
  decision: {
    id: `decision of ${id}`,
    input,
    made: { instanceId: 'i-001', poolId: 'm5.large@ap-south-1a', durationMs: 2 },
    digest: digestOf(evaluate(input)),
  },
})

test('only what is tried is told, as it was decided, and others are heard in between', async () => {
  const told: DecisionMade[] = []
  const heard: number[] = []
  const listen = (): void => {
    heard.push(told.length)
    if (told.length < 3) setImmediate(listen)
  }
  setImmediate(listen)
  const running = { target: 'b', decisionId: 'decision of b', status: 'running' as const, reason: '' }
  await tellOfTried(
    { actions: [running] },
    [
      decided('a', { modelId: 'model-b' }),
      decided('quiet', {}),
      decided('b', { pipelineMode: 'SINGLE_LINEAR' }),
      decided('c', { pipelineMode: 'SINGLE_LINEAR' }),
    ],
    (made) => Promise.resolve(void told.push(made)),
  )
  expect(told.map(({ id, acted }) => [id, acted])).toEqual([
    ['decision of a', false],
    ['decision of b', true],
    ['decision of c', false],
  ])
  expect(told[0]?.outcome).toEqual(evaluate(input))
  expect(heard).toContain(1)
  expect(heard).toContain(2)
})
