import { settingsSchema } from '@understudy/shared/protocol/agents'
import { expect, test } from 'vitest'
import { sampleAgent } from '../../testkit/samples.ts'
import {
  flagSettings,
  rebalanceChoices,
  rebalanceMeaning,
  standbyMeaning,
  whyNotSettings,
} from './setting-words.ts'

const settings = (changes = {}) => ({ ...sampleAgent().settings, ...changes })

test('every setting of an agent can be changed', () => {
  const offered = [
    ...flagSettings.map(({ key }) => key),
    'on_rebalance',
    'rebalance_threshold',
    'min_replicas',
  ]
  expect(offered.toSorted()).toEqual(Object.keys(settingsSchema.shape).toSorted())
  expect(rebalanceChoices.map(({ value }) => value)).toEqual(settingsSchema.shape.on_rebalance.options)
})

test('what a choice means is said with the threshold that it depends on', () => {
  expect(rebalanceMeaning(settings({ rebalance_threshold: 0.3 }))).toContain('above 30%')
  expect(rebalanceMeaning(settings({ on_rebalance: 'handover' }))).toContain('takes over')
  expect(rebalanceMeaning(settings({ on_rebalance: 'ignore' }))).not.toContain('30%')
  expect(rebalanceMeaning(settings({ rebalance_threshold: Number.NaN }))).not.toContain('NaN')
})

test('standbys that nobody may make are not promised', () => {
  expect(standbyMeaning(settings({ min_replicas: 2 }))).toContain('another is made')
  expect(standbyMeaning(settings({ min_replicas: 2, auto_replica_enabled: false }))).toContain('no effect')
})

test('what the coordinator would refuse is not sent', () => {
  expect(whyNotSettings(settings())).toBeUndefined()
  for (const bad of [{ rebalance_threshold: Number.NaN }, { rebalance_threshold: 1.1 }])
    expect(whyNotSettings(settings(bad))).toContain('threshold')
  for (const min_replicas of [-1, 8, 1.5, Number.NaN])
    expect(whyNotSettings(settings({ min_replicas }))).toContain('standbys')
})
