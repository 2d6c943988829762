import { describe, expect, it } from 'vitest'
import { sampleAgent, samplePool, sampleReplica } from '../../testkit/samples.ts'
import { poolMaps, residentsOf } from '../pools/pool-map.ts'
import { fleetPools, MOST_TYPES, matchingAgents, placesSentence } from './fleet-map.ts'

const pool = (id: string, spot: number) => samplePool(id, { spot_price: spot })
const agent = (id: string, at: string | null, ...standbys: string[]) =>
  sampleAgent({
    id,
    name: id,
    pool_id: at,
    replicas: standbys.map((pool_id, i) => sampleReplica({ id: `${id}-${i}`, pool_id })),
  })

describe("the fleet's map", () => {
  it('has the regions in which somebody is, whole types of them, and the cheapest others', () => {
    const known = [
      ...Array.from({ length: 12 }, (_, i) => pool(`t${i}.large@us-east-1a`, 0.1 + i / 100)),
      pool('t11.large@us-east-1b', 0.5),
      pool('m5.large@eu-west-1a', 0.01),
    ]
    const agents = [agent('a', 't11.large@us-east-1a')]
    const typesOf = (most: number) =>
      poolMaps(fleetPools(known, agents, residentsOf(agents), most)).map(({ rows }) => rows.length)
    expect([typesOf(0), typesOf(MOST_TYPES)]).toEqual([[1], [8]])
    const shown = fleetPools(known, agents, residentsOf(agents), MOST_TYPES)
    const [map, ...others] = poolMaps(shown)
    expect(others).toEqual([])
    expect(map?.zones).toEqual(['us-east-1a', 'us-east-1b'])
    expect(map?.rows.map(({ type }) => type).sort()).toEqual(
      [0, 1, 2, 3, 4, 5, 6, 11].map((i) => `t${i}.large`).sort(),
    )
  })

  it('has every pool in which somebody is, also one of which no price is known', () => {
    const agents = [agent('a', 'm5.large@us-east-1a', 'c5.large@us-gov-west-1b'), agent('b', null)]
    const shown = fleetPools([], agents, residentsOf(agents), 0)
    expect(shown.map(({ pool_id: id, region }) => [id, region])).toEqual([
      ['m5.large@us-east-1a', 'us-east-1'],
      ['c5.large@us-gov-west-1b', 'us-gov-west-1'],
    ])
  })

  it('shows the primary where it is now: after a move in the pool of the one that took over', () => {
    const before = [agent('a', 'm5.large@us-east-1a', 'c5.large@us-east-1b')]
    const after = [agent('a', 'c5.large@us-east-1b')]
    const at = (agents: typeof before) => {
      const residents = residentsOf(agents)
      return fleetPools([pool('m5.large@us-east-1a', 1)], agents, residents, MOST_TYPES).map(
        ({ pool_id: id }) => [id, residents(id).primaries, residents(id).standbys],
      )
    }
    expect(at(before)).toEqual([
      ['m5.large@us-east-1a', ['a'], []],
      ['c5.large@us-east-1b', [], ['a']],
    ])
    expect(at(after)).toEqual([
      ['m5.large@us-east-1a', [], []],
      ['c5.large@us-east-1b', ['a'], []],
    ])
  })

  it('says in a sentence how many are where, and when most are in one zone', () => {
    const agents = [
      agent('a', 'm5.large@us-east-1a', 'c5.large@us-east-1b'),
      agent('b', 'm5.large@us-east-1a'),
      agent('c', 'c5.large@us-east-1b'),
    ]
    const residents = residentsOf(agents)
    expect(placesSentence(fleetPools([], agents, residents, 0), residents)).toBe(
      '3 primaries in 2 pools · 1 standby in 1 pool · 2 of the primaries are in us-east-1a',
    )
    const two = agents.slice(1)
    expect(placesSentence(fleetPools([], two, residentsOf(two), 0), residentsOf(two))).toBe(
      '2 primaries in 2 pools · 0 standbys in 0 pools',
    )
  })
})

describe('the filter of the fleet', () => {
  const agents = [agent('web-1', 'm5.large@us-east-1a'), agent('api-1', 'c5.large@us-east-1b')]
  it('takes words of the name, the pool and the state', () => {
    const found = (search: string) => matchingAgents(agents, search).map(({ name }) => name)
    expect(found('')).toEqual(['web-1', 'api-1'])
    expect(found('WEB')).toEqual(['web-1'])
    expect(found('healthy us-east-1b')).toEqual(['api-1'])
    expect(found('web us-east-1b')).toEqual([])
  })
})
