import { describe, expect, it } from 'vitest'
import { hrefOf, parseRoute, type Route } from './route.ts'

describe('the route', () => {
  const routes: readonly [string, Route][] = [
    ['#/', { page: 'fleet' }],
    ['#/?agent=agent-demo-1', { page: 'fleet', agent: 'agent-demo-1' }],
    ['#/?search=web', { page: 'fleet', search: 'web' }],
    ['#/agents/agent-demo-1', { page: 'agent', id: 'agent-demo-1' }],
    ['#/agents/agent-demo-1?range=7d', { page: 'agent', id: 'agent-demo-1', range: '7d' }],
    ['#/incidents', { page: 'incidents' }],
    ['#/incidents?agent=agent-demo-1', { page: 'incidents', agent: 'agent-demo-1' }],
    ['#/incidents/7cda17a9', { page: 'incident', id: '7cda17a9' }],
    ['#/incidents/7cda17a9?step=5', { page: 'incident', id: '7cda17a9', step: 5 }],
    ['#/incidents/7cda17a9?compare=all', { page: 'incident', id: '7cda17a9', compare: 'all' }],
    ['#/switches?agent=a&reason=manual', { page: 'switches', agent: 'a', reason: 'manual' }],
    [
      '#/pools?pool=m5.large%40us-east-1a&range=7d',
      { page: 'pools', pool: 'm5.large@us-east-1a', range: '7d' },
    ],
    ['#/models', { page: 'models' }],
    ['#/models/model-0123456789ab', { page: 'model', id: 'model-0123456789ab' }],
    ['#/gap-filler', { page: 'gap-filler' }],
    ['#/lab?target=i-lab-test-001', { page: 'lab', target: 'i-lab-test-001' }],
    ['#/decisions?decision=SWITCH', { page: 'decisions', decision: 'SWITCH' }],
    ['#/engines?engine=spot_optimizer_v1', { page: 'engines', engine: 'spot_optimizer_v1' }],
    ['#/settings', { page: 'settings' }],
    [
      '#/settings?actor=ada&action=agent.settings',
      { page: 'settings', actor: 'ada', action: 'agent.settings' },
    ],
  ]

  it.each(routes)('%s is read and written', (hash, route) => {
    expect(parseRoute(hash)).toEqual(route)
    expect(hrefOf(route)).toBe(hash)
  })

  it('an empty address is the fleet', () => expect(parseRoute('')).toEqual({ page: 'fleet' }))

  it.each(['#/nothing', '#/agents', '#/agents/', '#/pools/m5.large', '#/models/a/b'])(
    '%s leads nowhere',
    (hash) => expect(parseRoute(hash)).toEqual({ page: 'nowhere' }),
  )

  it('a broken escape is taken as it is', () =>
    expect(parseRoute('#/agents/%E0%A4%A')).toEqual({ page: 'agent', id: '%E0%A4%A' }))

  it('a step that is no number is none', () =>
    expect(parseRoute('#/incidents/7cda17a9?step=x')).toEqual({ page: 'incident', id: '7cda17a9' }))
})
