import type { AgentView } from '@understudy/shared/protocol/agents'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { sampleAgent } from '../../testkit/samples.ts'
import { worstFirst } from './worst-first.ts'

const states = ['failed', 'offline', 'at-risk', 'healthy'] as const
const fleet = fc
  .uniqueArray(
    fc.record({
      id: fc.integer({ min: 0, max: 30 }).map((i) => `agent-${i}`),
      name: fc.integer({ min: 0, max: 12 }).map((i) => `web-${i}`),
      state: fc.constantFrom(...states),
    }),
    { selector: ({ id }) => id, maxLength: 20 },
  )
  .map((all) => new Map<string, AgentView>(all.map((one) => [one.id, sampleAgent(one)])))

it('what is worse comes first, and numbers in names count as numbers', () => {
  const agents = [
    sampleAgent({ id: 'a', name: 'web-10' }),
    sampleAgent({ id: 'b', name: 'web-9' }),
    sampleAgent({ id: 'c', name: 'web-11', state: 'at-risk' }),
    sampleAgent({ id: 'd', name: 'web-1', replicas: [] }),
    sampleAgent({ id: 'e', name: 'web-2', state: 'failed' }),
  ]
  const order = worstFirst(new Map(agents.map((agent) => [agent.id, agent])))
  expect(order.map(({ name }) => name)).toEqual(['web-2', 'web-11', 'web-1', 'web-9', 'web-10'])
})

it('is the same whatever the order was before, and has each agent once', () => {
  fc.assert(
    fc.property(fleet, fleet, (before, agents) => {
      const order = worstFirst(agents, worstFirst(before))
      expect(order).toEqual(worstFirst(agents))
      expect(new Set(order)).toEqual(new Set(agents.values()))
    }),
  )
})
