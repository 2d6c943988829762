import { instant, minutes } from '@understudy/shared/core/time'
import type { PredictionRunView } from '@understudy/shared/protocol/predictions'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { expect, test } from 'vitest'
import { createLastRisks } from './last-risks.ts'

const START = instant(Date.UTC(2026, 0, 1))
const POOL = 'c5.large@us-east-1a'

const runOf = (p: number): PredictionRunView =>
  ({
    at: new Date(START).toISOString(),
    items: [{ pool_id: POOL, p_instability_12h: p, confidence: 1, unstable: false }],
  }) as unknown as PredictionRunView

test('the last run counts, for half an hour', async () => {
  const time = createVirtualTime(START)
  const feed: { last: PredictionRunView | undefined } = { last: undefined }
  const riskOf = createLastRisks(feed, time.clock)
  expect(riskOf(POOL)).toBeNull()
  feed.last = runOf(0.2)
  expect([riskOf(POOL), riskOf('m5.large@us-east-1a')]).toEqual([0.2, null])
  feed.last = runOf(0.3)
  expect(riskOf(POOL)).toBe(0.3)
  await time.advance(minutes(31))
  expect(riskOf(POOL)).toBeNull()
})
