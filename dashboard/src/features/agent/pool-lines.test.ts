import type { PriceSeries } from '@understudy/shared/protocol/market'
import { describe, expect, it } from 'vitest'
import { sampleAgent, samplePool, sampleReplica } from '../../testkit/samples.ts'
import { linesOf, poolsOf } from './pool-lines.ts'

const agent = sampleAgent({
  pool_id: 'm5.large@us-east-1a',
  replicas: [sampleReplica({ pool_id: 'c6i.large@us-east-1d' })],
})
const series = (pool_id: string): PriceSeries => ({
  pool_id,
  from: '',
  to: '',
  bucket_seconds: 300,
  buckets: { total: 1, primary: 0, replica: 0, history: 0, interpolated: 1, missing: 0 },
  decimated: false,
  points: [{ at: '2026-11-21T00:00:00Z', price: 0.04, data_source: 'interpolated', confidence: 0.85 }],
})

describe('the pools of an agent', () => {
  it('are its own, its standbys, then those of its type by price', () => {
    const pools = [
      samplePool('m5.large@us-east-1c', { spot_price: null }),
      samplePool('m5.large@us-east-1b', { spot_price: 0.03 }),
      samplePool('m5.large@us-east-1a'),
      samplePool('m5.large@eu-west-1a'),
      samplePool('c6i.large@us-east-1d'),
      samplePool('r5.large@us-east-1d'),
    ]
    expect(poolsOf(agent, pools).map(({ pool_id: id }) => id)).toEqual([
      'm5.large@us-east-1a',
      'c6i.large@us-east-1d',
      'm5.large@us-east-1b',
      'm5.large@us-east-1c',
    ])
  })

  it('have six colours at most; what is picked has one', () => {
    const ids = ['m5.large@us-east-1a', 'c6i.large@us-east-1d', ...'bcdefgh'].map((id) =>
      id.length > 1 ? id : `m5.large@us-east-1${id}`,
    )
    const lines = linesOf(agent, ids.map(series), 'm5.large@us-east-1h')
    expect(lines.map(({ colour }) => colour)).toEqual([1, 2, 3, 4, 5, undefined, undefined, undefined, 6])
    expect(lines.filter(({ strong }) => strong).map(({ name }) => name)).toEqual([
      'm5.large · us-east-1a, primary',
      'm5.large · us-east-1h',
    ])
    expect(lines[0]?.points).toEqual([
      { at: Date.parse('2026-11-21T00:00:00Z'), value: 0.04, kind: 'interpolated', confidence: 0.85 },
    ])
  })
})
