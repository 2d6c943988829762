import type { RecordView } from './record-files.ts'
import type { Switch } from './record-lines.ts'

/** The record for people: the switch history, oldest first, then the prices of the last hour if there are any. */
export function printRecord({ switches, prices, config }: RecordView): string {
  const lines = switches.map(
    (entry) =>
      `${entry.at}  epoch ${String(entry.epoch).padEnd(5)} ${entry.instance.padEnd(20)} ${toSentence(entry)}`,
  )
  if (lines.length === 0) lines.push('no change of primary is known here')
  for (const { at, pool, usd } of prices) lines.push(`${at}  ${pool.padEnd(30)} ${usd} USD per hour`)
  if (config)
    lines.push(
      `# configuration of epoch ${config.epoch}, written by ${config.instance} at ${config.at}: see --json`,
    )
  return `${lines.join('\n')}\n`
}

function toSentence({ kind, to, urgent, fresh, incident }: Switch): string {
  const what = {
    primary: fresh ? 'became primary with nothing' : 'became primary',
    'hand-over': `began to hand over to ${to}${urgent ? ' because of a notice' : ''}`,
    'called-off': `kept the epoch: the hand-over to ${to} was called off`,
  }[kind]
  return incident === undefined ? what : `${what} (incident ${incident})`
}
