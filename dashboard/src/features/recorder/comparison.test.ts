import type { IncidentView } from '@understudy/shared/protocol/incidents'
import { expect, test } from 'vitest'
import { refused } from '../../testkit/answers.ts'
import { sampleIncident, sampleStep } from '../../testkit/samples.ts'
import { compare, earlierLike } from './comparison.ts'

const earlier = (id: string, changes: Partial<IncidentView> = {}): IncidentView =>
  sampleIncident({ id, detected_at: '2026-11-20T00:00:00.000Z', ...changes })
const pagesOf = (...pages: readonly IncidentView[][]) => ({
  asked: [] as (string | undefined)[],
  async incidents({ cursor }: { cursor?: string | undefined }) {
    this.asked.push(cursor)
    const at = Number(cursor ?? 0)
    const next = at + 1 < pages.length ? String(at + 1) : null
    return { ok: true as const, status: 200, body: { items: pages[at] ?? [], next } }
  },
})

test('the median is of those that have the step at all, and of an even number the mean of the middle two', () => {
  const others = [100, 200, 900, 400].map((no_primary_ms, index) =>
    earlier(`e${index}`, { no_primary_ms, steps: index === 0 ? [] : sampleIncident().steps }),
  )
  const rows = compare(sampleIncident(), others)
  expect(rows[1]).toEqual({ name: 'Nobody served', own: 215, median: 300, count: 4 })
  expect(rows.find(({ name }) => name === 'Workload frozen')).toMatchObject({
    own: 6.3,
    median: 6.3,
    count: 3,
  })
  expect(rows.map(({ name }) => name)).not.toContain('Notice received')
})

test('a step that was done twice took both times, and without earlier moves there is no median', () => {
  const steps = [1, 2].map((seq) => sampleStep({ seq, step: 'health-check', t_ms: seq, duration_ms: 10 }))
  expect(compare(sampleIncident({ steps }), []).at(-1)).toMatchObject({ own: 20, median: null, count: 0 })
})

test('only earlier moves of the same kind that went well count, from as many pages as it takes', async () => {
  const incident = sampleIncident()
  const calls = pagesOf(
    [incident, earlier('later', { detected_at: '2026-11-22T00:00:00.000Z' }), earlier('a')],
    [earlier('failed', { outcome: 'failed' }), earlier('drill', { trigger: 'drill' }), earlier('b')],
  )
  const found = await earlierLike(calls, incident, undefined)
  expect(Array.isArray(found) && found.map(({ id }) => id)).toEqual(['a', 'b'])
  expect(calls.asked).toEqual([undefined, '1'])
})

test('twenty are enough, and a refusal is handed on', async () => {
  const many = Array.from({ length: 30 }, (_, index) => earlier(`e${index}`))
  const calls = pagesOf(many, many)
  expect(await earlierLike(calls, sampleIncident(), undefined)).toHaveLength(20)
  expect(calls.asked).toHaveLength(1)
  const away = { incidents: async () => refused('the coordinator is busy') }
  expect(await earlierLike(away, sampleIncident(), 'a')).toMatchObject({ kind: 'refused' })
})
