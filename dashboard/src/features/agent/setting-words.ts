import type { AgentSettings, OnRebalance } from '@understudy/shared/protocol/agents'
import { formatShare } from '../../ui/format.ts'

type Flag = { [K in keyof AgentSettings]: AgentSettings[K] extends boolean ? K : never }[keyof AgentSettings]

/** What can be on or off, and what it means. docs/policies.md has the rest. */
export const flagSettings: readonly {
  readonly key: Flag
  readonly words: string
  readonly meaning: string
}[] = [
  {
    key: 'on_demand_fallback',
    words: 'On demand where spot has no room',
    meaning:
      'When a replica is needed now and no spot pool has capacity, one is started on demand. It costs more.',
  },
  {
    key: 'auto_replica_enabled',
    words: 'Makes replicas by itself',
    meaning: 'Off: no standby is made without being asked for, whatever else is set here.',
  },
  {
    key: 'manual_replica_enabled',
    words: 'Replicas by hand',
    meaning: 'Off: “Create replica” is refused.',
  },
  {
    key: 'auto_switch_enabled',
    words: 'Moves by itself',
    meaning: 'To a cheaper pool, when the decision pipeline says so and may act on this agent.',
  },
  {
    key: 'terminate_after_switch',
    words: 'Ends the old instance after a move',
    meaning: 'After a planned move. Off: it stays as a standby, and is paid for. A drill never ends it.',
  },
]

export const rebalanceChoices: readonly { readonly value: OnRebalance; readonly words: string }[] = [
  { value: 'ignore', words: 'nothing' },
  { value: 'replica', words: 'make a replica' },
  { value: 'handover', words: 'make a replica and hand over' },
]

/** What the choice brings about, with the threshold that is set. */
export function rebalanceMeaning({
  on_rebalance: choice,
  rebalance_threshold: threshold,
}: Pick<AgentSettings, 'on_rebalance' | 'rebalance_threshold'>): string {
  const above = Number.isFinite(threshold) ? `above ${formatShare(threshold)}` : 'above the threshold'
  switch (choice) {
    case 'ignore':
      return 'A recommendation is recorded, and nothing is done about it.'
    case 'replica':
      return `When a notice within two hours is likelier than that (${above}) a standby is made. The primary runs on.`
    case 'handover':
      return `When a notice within two hours is likelier than that (${above}) the best standby takes over, by a planned move without loss.`
  }
}

export function standbyMeaning({
  min_replicas: least,
  auto_replica_enabled: auto,
}: Pick<AgentSettings, 'min_replicas' | 'auto_replica_enabled'>): string {
  if (!auto && least > 0) return 'Has no effect while “Makes replicas by itself” is off.'
  return least > 0
    ? 'As soon as one is lost or takes over, another is made. Each costs what its instance costs.'
    : '0: a standby is made only when a signal or a loss asks for one.'
}

/** Why they cannot be saved; undefined when they can. */
export function whyNotSettings({
  rebalance_threshold: threshold,
  min_replicas: least,
}: AgentSettings): string | undefined {
  if (!(threshold >= 0 && threshold <= 1)) return 'The threshold is between 0 and 1.'
  if (!Number.isInteger(least) || least < 0 || least > 7)
    return 'The standbys are a whole number from 0 to 7.'
  return undefined
}
