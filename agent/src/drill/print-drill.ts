import { formatMillis } from '@understudy/shared/core/time'
import type { DrillFigures, DrillMove, DrillView } from '@understudy/shared/protocol/drills'

type Step = DrillMove['steps'][number]

/** One step, as it comes. */
export const stepLine = (move: DrillMove, step: Step): string =>
  `${[
    move.direction.padEnd(5),
    `T${step.t_ms < 0 ? '' : '+'}${formatMillis(step.t_ms)}`.padEnd(11),
    step.step.padEnd(20),
    (step.duration_ms === null ? '' : formatMillis(step.duration_ms)).padEnd(9),
    `${step.ok ? '' : 'FAILED '}${step.detail}`,
  ]
    .join('')
    .trimEnd()}\n`

/** The report for people; its steps were said before. */
export function printDrill(drill: DrillView): string {
  const lines = [
    ['drill', `${drill.agent_name}: ${drill.status === 'done' ? 'it works' : 'FAILED'}, ${drill.reason}`],
    ...drill.moves.flatMap(moveLines),
    ['before', figuresLine('drills', drill.before.drills)],
    ['', figuresLine('incidents', drill.before.incidents)],
    ['compared', drill.comparison],
  ]
  return `${lines.map(([name = '', text = '']) => `${name.padEnd(10)}${text}`.trimEnd()).join('\n')}\n`
}

function moveLines(move: DrillMove): [string, string][] {
  const took = (value: number | null) => (value === null ? 'not known' : formatMillis(value))
  const { health, loss, bytes_behind: bytes } = move
  return [
    [
      move.direction,
      `${move.from_instance_id} to ${move.to_instance_id}: ${move.outcome}, up after ${took(move.detect_to_promoted_ms)}, nobody served for ${took(move.no_primary_ms)}`,
    ],
    ...(bytes === null ? [] : [['', `${bytes} bytes behind when it began`] as [string, string]]),
    ...(loss ? [['', `lost: ${loss.sentence}`] as [string, string]] : []),
    [
      '',
      `health: ${health ? `${health.said}${health.took_ms === null ? '' : ` after ${formatMillis(health.took_ms)}`}` : 'not asked'}`,
    ],
  ]
}

function figuresLine(name: string, { count, failed, no_primary_ms: gap }: DrillFigures): string {
  if (count === 0) return `no ${name}`
  const times = gap
    ? `; nobody served for ${formatMillis(gap.median)} (median), ${formatMillis(gap.worst)} (worst)`
    : ''
  return `${count} ${name}, ${failed} failed${times}`
}
