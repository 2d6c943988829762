import { describe, expect, it } from 'vitest'
import { hrefOf, parseRoute, type Route } from './route.ts'

describe('the route', () => {
  const routes: readonly [string, Route][] = [
    ['#/', { page: 'fleet' }],
    ['#/agents/agent-demo-1', { page: 'fleet', agent: 'agent-demo-1' }],
    ['#/incidents', { page: 'incidents' }],
    ['#/incidents?agent=agent-demo-1', { page: 'incidents', agent: 'agent-demo-1' }],
    ['#/incidents/7cda17a9', { page: 'incident', id: '7cda17a9' }],
    ['#/incidents/7cda17a9?step=5', { page: 'incident', id: '7cda17a9', step: 5 }],
  ]

  it.each(routes)('%s is read and written', (hash, route) => {
    expect(parseRoute(hash)).toEqual(route)
    expect(hrefOf(route)).toBe(hash)
  })

  it('an empty address is the fleet', () => expect(parseRoute('')).toEqual({ page: 'fleet' }))

  it.each(['#/pools', '#/agents', '#/agents/'])('%s leads nowhere', (hash) =>
    expect(parseRoute(hash)).toEqual({ page: 'nowhere' }),
  )

  it('a broken escape is taken as it is', () =>
    expect(parseRoute('#/agents/%E0%A4%A')).toEqual({ page: 'fleet', agent: '%E0%A4%A' }))
})
