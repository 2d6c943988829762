import type { CycleView, DecisionView } from '@understudy/shared/protocol/decision-log'
import { formatNumberOf, formatTook } from '../../ui/format.ts'
import type { Mark } from '../../ui/tone.ts'

type Name = DecisionView['decision']

export const decisionMarks: Readonly<Record<Name, Mark>> = {
  STAY: { tone: 'healthy', shape: 'circle', word: 'Stay' },
  SWITCH: { tone: 'standby', shape: 'diamond', word: 'Switch' },
  DRAIN: { tone: 'at-risk', shape: 'triangle', word: 'Drain' },
  EVACUATE: { tone: 'draining', shape: 'hourglass', word: 'Evacuate' },
}
export const decisionNames = Object.keys(decisionMarks) as Name[]

const results: Readonly<Record<NonNullable<DecisionView['result']>['status'], Mark>> = {
  nothing: { tone: 'unknown', shape: 'dash', word: 'Nothing done' },
  logged: { tone: 'unknown', shape: 'dash', word: 'Logged' },
  would_act: { tone: 'standby', shape: 'ring', word: 'Dry run: would act' },
  refused: { tone: 'at-risk', shape: 'triangle', word: 'Refused' },
  planned: { tone: 'standby', shape: 'ring', word: 'Planned' },
  running: { tone: 'standby', shape: 'half', word: 'Under way' },
  done: { tone: 'healthy', shape: 'circle', word: 'Done' },
  failed: { tone: 'failed', shape: 'cross', word: 'Failed' },
}
export const resultMark = (status: NonNullable<DecisionView['result']>['status']): Mark => results[status]

export const stageNames: Readonly<Record<string, string>> = {
  input: 'Prices',
  hardware: 'Hardware',
  right_sizing: 'Right-sizing',
  spot_advisor: 'Spot Advisor',
  risk: 'Risk',
  safety_gate: 'Safety gate',
  bin_packing: 'Bin packing',
  ranking: 'Ranking',
  signal_override: 'AWS signals',
  actuator: 'Actuator',
}

/** `12 decisions from 02:40 to 03:10: 9 stay, 3 switch` */
export function countSentence(items: readonly DecisionView[]): string {
  const [latest, oldest] = [items[0], items.at(-1)]
  if (!latest || !oldest) return 'No decisions.'
  const counts = decisionNames.flatMap((name) => {
    const count = items.filter(({ decision }) => decision === name).length
    return count === 0 ? [] : [`${count} ${decisionMarks[name].word.toLowerCase()}`]
  })
  const clock = (time: string) => new Date(time).toISOString().slice(0, 16).replace('T', ' ')
  return `${formatNumberOf(items.length, 'decision')} from ${clock(oldest.at)} to ${clock(latest.at)} UTC: ${counts.join(', ')}.`
}

/** What a cycle came to, for the status line. */
export function cycleSentence(cycle: CycleView): string {
  const parts = [
    `${formatNumberOf(cycle.agents, 'agent')} decided for in ${formatTook(cycle.duration_ms)}`,
    `${cycle.acted} of at most ${cycle.budget} moves begun`,
  ]
  if (cycle.skipped.length > 0) parts.push(`${cycle.skipped.length} passed over`)
  return `${parts.join(', ')}.`
}
