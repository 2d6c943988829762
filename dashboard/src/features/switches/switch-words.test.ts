import type { SwitchView } from '@understudy/shared/protocol/incidents'
import { describe, expect, it } from 'vitest'
import { byDay, savingsSentence } from './switch-words.ts'

const savings = {
  agent_id: null,
  from: '',
  to: '',
  spot_cost: 40,
  on_demand_cost: 100,
  double_running_cost: 25.5,
  switch_cost: null,
  switches: 3,
  net_savings: 34.5,
  counted_hours: 10,
  unknown_hours: 0,
  on_demand_rate_percent: 100,
}

describe('savings', () => {
  it('say against what, and what is subtracted', () => {
    expect(savingsSentence(savings)).toBe(
      '$34.50 net against On-Demand at list price: $100.00 less $40.00 for Spot and $25.50 for standbys and moves; what a switch costs beside that is not known.',
    )
    expect(
      savingsSentence({ ...savings, switch_cost: 0.5, net_savings: -1, on_demand_rate_percent: 70 }),
    ).toBe(
      '−$1.00 net against On-Demand at 70% of its list price: $100.00 less $40.00 for Spot and $25.50 for standbys and moves and $0.50 for switches.',
    )
    expect(savingsSentence({ ...savings, counted_hours: 0 })).toContain('Nothing can be said')
  })
})

it('switches are grouped by the day in UTC', () => {
  const at = (switched_at: string) => ({ switched_at }) as SwitchView
  expect(
    byDay([at('2026-11-21T00:30:00Z'), at('2026-11-21T00:30:00+01:00'), at('2026-11-20T10:00:00Z')]).map(
      ([day, own]) => [day, own.length],
    ),
  ).toEqual([
    ['2026-11-21', 1],
    ['2026-11-20', 2],
  ])
})
