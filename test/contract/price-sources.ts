import { expect } from 'vitest'
import type { HistoryQuery } from '../../coordinator/src/cloud/history-source.ts'
import type { PriceSources } from '../../coordinator/src/cloud/price-sources.ts'
import { hours } from '../../shared/src/core/time.ts'
import type { GivenSample } from '../../shared/src/market/sample.ts'
import { type Bench, until } from './bench.ts'

/** A history of two pools, a while ago, and what it takes to fetch it over the real API. */

export const HOUR = 3_600_000
/** Whole hours, a while ago. */
export const START = Math.floor(Date.now() / HOUR) * HOUR - 12 * HOUR
export const after = (hour: number): number => START + hour * HOUR
export const iso = (time: number): string => new Date(time).toISOString()

export const IN_A = 'c5.large@us-east-1a'
export const IN_B = 'c5.large@us-east-1b'
const changes: readonly GivenSample[] = [
  { pool: IN_A, at: after(-30), price: 0.04 },
  { pool: IN_A, at: after(4), price: '0.05' },
  { pool: IN_B, at: after(-30), price: 0.03 },
]

/** Answers from a list; what `before` does comes first. */
export function sourcesOf(
  before: (query: HistoryQuery) => Promise<void> | void = () => undefined,
): PriceSources {
  return {
    catalog: undefined,
    history: {
      reach: hours(90 * 24),
      silence: null,
      async *fetch(query) {
        await before(query)
        yield changes.filter(({ pool }) => query.instanceTypes.includes(String(pool).split('@')[0] ?? ''))
        if (query.instanceTypes.includes('c5.large'))
          yield [
            { pool: IN_A, at: after(8), price: 0 },
            { pool: IN_A, at: after(9), price: 0.05 },
          ]
      },
    },
  }
}

export const fetchThem = async (bench: Bench, types: readonly string[]) => {
  const asked = { instance_types: types, regions: ['us-east-1'], days: 2 }
  const answer = await bench.call('POST', '/api/v1/ml/pricing/fetch', asked)
  expect(answer).toMatchObject({ status: 202, body: { kind: 'manual', total: types.length } })
  return `/api/v1/ml/pricing/fetch/${answer.body.task_id}`
}
export const ended = async (bench: Bench, path: string) => {
  await until(async () => !/queued|running/.test((await bench.call('GET', path)).body.status))
  return (await bench.call('GET', path)).body
}

/** As /metrics says it now. */
export async function metric(bench: Bench, name: string): Promise<number> {
  const { body } = await bench.call('GET', '/metrics')
  const line = String(body)
    .split('\n')
    .find((text) => text.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1))
}
