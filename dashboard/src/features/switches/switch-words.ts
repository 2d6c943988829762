import type { SwitchView } from '@understudy/shared/protocol/incidents'
import type { SavingsView } from '@understudy/shared/protocol/market'
import { formatUsd } from '../../ui/format.ts'

export const reasonWords: Readonly<Record<SwitchView['switch_reason'], string>> = {
  'automatic-interruption-failover': 'interruption notice',
  'automatic-loss-failover': 'instance lost',
  'automatic-switch': 'a decision',
  'automatic-rebalance': 'rebalance recommendation',
  manual: 'by hand',
  drill: 'drill',
  relaunch: 'started anew',
}

/** The latest day first, each with its switches as they come. */
export function byDay(
  switches: readonly SwitchView[],
): readonly (readonly [string, readonly SwitchView[]])[] {
  const days = new Map<string, SwitchView[]>()
  for (const each of switches) {
    const day = new Date(each.switched_at).toISOString().slice(0, 10)
    days.set(day, [...(days.get(day) ?? []), each])
  }
  return [...days]
}

/** Against what, and what is subtracted. */
export function savingsSentence(savings: SavingsView): string {
  if (savings.counted_hours === 0)
    return 'Nothing can be said of savings yet: of no hour are all prices known.'
  const rate =
    savings.on_demand_rate_percent === 100
      ? 'On-Demand at list price'
      : `On-Demand at ${savings.on_demand_rate_percent}% of its list price`
  return `${formatUsd(savings.net_savings)} net against ${rate}: ${formatUsd(savings.on_demand_cost)} less ${formatUsd(savings.spot_cost)} for Spot and ${formatUsd(savings.double_running_cost)} for standbys and moves${savings.switch_cost === null ? '; what a switch costs beside that is not known' : savings.switch_cost > 0 ? ` and ${formatUsd(savings.switch_cost)} for switches` : ''}.`
}
