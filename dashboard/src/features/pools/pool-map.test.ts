import { instant } from '@understudy/shared/core/time'
import { describe, expect, it } from 'vitest'
import { sampleAgent, samplePool, sampleReplica } from '../../testkit/samples.ts'
import {
  isOld,
  matching,
  poolInWords,
  poolMaps,
  poolsSentence,
  residentsOf,
  shareOfOnDemand,
} from './pool-map.ts'

const now = instant(Date.parse('2026-11-21T03:00:00Z'))
const pools = [
  samplePool('m5.large@us-east-1a', { spot_price: 0.0425 }),
  samplePool('m5.large@us-east-1b', {
    spot_price: null,
    price_at: null,
    data_source: null,
    discount_percent: null,
  }),
  samplePool('c6i.large@us-east-1b', { data_source: 'interpolated' }),
]

describe('the pool map', () => {
  it('has types down and zones across, and says nothing of what is not known', () => {
    expect(
      poolMaps(pools).map(({ region, zones, rows }) => [
        region,
        zones,
        rows.map(({ type, cells }) => [type, cells.map((cell) => cell?.pool_id)]),
      ]),
    ).toEqual([
      [
        'us-east-1',
        ['us-east-1a', 'us-east-1b'],
        [
          ['c6i.large', [undefined, 'c6i.large@us-east-1b']],
          ['m5.large', ['m5.large@us-east-1a', 'm5.large@us-east-1b']],
        ],
      ],
    ])
  })

  it('names each cell in full', () => {
    const residents = residentsOf([
      sampleAgent({ replicas: [sampleReplica({ pool_id: 'c6i.large@us-east-1b' })] }),
    ])
    const words = pools.map((pool) => poolInWords(pool, residents(pool.pool_id), now))
    expect(words).toEqual([
      'm5.large us-east-1a: $0.0425 per hour, primary of api-1 here',
      'm5.large us-east-1b: no price is known',
      'c6i.large us-east-1b: $0.0400 per hour, interpolated, standby of api-1 here',
    ])
  })

  it('names a few of the many who are in one pool, and counts the others', () => {
    const many = Array.from({ length: 1000 }, (_, i) =>
      sampleAgent({ id: `agent-${i}`, name: `web-${i}`, replicas: [] }),
    )
    const here = samplePool('m5.large@us-east-1a')
    expect(poolInWords(here, residentsOf(many)(here.pool_id), now)).toContain(
      'primary of web-0, web-1, web-2, web-3, web-4 and 995 more here',
    )
    expect(poolInWords(here, residentsOf(many.slice(0, 6))(here.pool_id), now)).toContain('web-4, web-5 here')
  })

  it('counts no standby that has ended', () => {
    const gone = sampleReplica({ is_active: false, status: 'terminated' })
    expect(residentsOf([sampleAgent({ replicas: [gone] })])(gone.pool_id).standbys).toEqual([])
  })

  it('says when a price is old', () => {
    const old = samplePool('m5.large@us-east-1a', { price_at: '2026-11-20T20:00:00Z' })
    expect(isOld(old, now)).toBe(true)
    expect(poolInWords(old, { primaries: [], standbys: [] }, now)).toContain('7 h old')
    expect(poolsSentence([old], now)).toBe('1 pools in us-east-1 · 1 without a price of the last 6 h')
  })

  it('says how many there are and which is furthest below On-Demand', () =>
    expect(poolsSentence(pools, now)).toBe(
      '3 pools in us-east-1 · 1 without a price of the last 6 h · furthest below On-Demand: m5.large in us-east-1a, 58%',
    ))

  it('finds by words', () =>
    expect(matching(pools, ' M5  1b ').map((pool) => pool.pool_id)).toEqual(['m5.large@us-east-1b']))

  it('knows no share where a price is missing', () =>
    expect(pools.map(shareOfOnDemand)).toEqual([0.0425 / 0.096, undefined, 0.04 / 0.096]))
})
