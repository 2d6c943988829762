import { availableParallelism, loadavg } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import { findPrograms } from '../../coordinator/src/commands/demo.ts'
import { within } from '../within.ts'
import { singleSpot } from './account.ts'
import { SPOT_SHARE } from './market.ts'
import { leadAt, playTrace } from './play.ts'
import { readSchedule } from './read.ts'
import { endsIn, harshestStretch } from './schedule.ts'
import { AIM, isMet, type Row, toTable } from './table.ts'

/** `pnpm traces`: real availability, played to a real coordinator and real agents on a simulated cloud. */

const DATA = fileURLToPath(new URL('../../../shared/data/traces', import.meta.url))
const TRACES: Readonly<Record<string, string>> = {
  'preemption-cpu': 'preemption/1-node/aws-04-19-2023',
  'preemption-gpu': 'preemption/1-node/aws-04-22-2023',
  'nine-zones': 'availability/1-node/aws-02-15-2023',
  'p3-log': 'p3-trace.csv',
}
/** A new instance with the last snapshot serves so much later, in seconds: as in the backtest (docs/backtests.md). */
const RESTART = 180
/** So many stretches are drawn, and the harshest is played. */
const DRAWS = 10
/** Beside the play itself: start, first copy, reading everything back, end. */
const AROUND = 40

const HELP = `Usage: pnpm traces [options]

Plays a stretch of each availability trace, accelerated, to a real coordinator and real agents on a simulated cloud: a zone
without capacity refuses launches and ends its instances after a notice. Exit status 1 when a trace misses the aim (${AIM * 100} %
of the time with capacity served) or two primaries ran at once.

  --trace NAME      ${Object.keys(TRACES).join(', ')}; or a folder or .csv of one's own (default: these four)
  --data FOLDER     where they are (default ../shared/data/traces)
  --speed N         seconds of the trace in a real second (default 180: an hour in 20 s)
  --minutes N       ends within so many real minutes; every trace gets an equal part, and 3 at most (default 15)
  --standbys N      standbys that are kept at all times, 1 to 7 (default 1)
  --seed N          which stretch (the harshest of ${DRAWS} that are drawn), and everything random of the cloud (default 1)
  --json            one object as the last line
  --help            this text
`

interface Flags {
  readonly traces: readonly string[]
  readonly data: string
  readonly speed: number
  readonly minutes: number
  readonly standbys: number
  readonly seed: number
  readonly json: boolean
}

/** Throws Error with what to do for what cannot be read. */
function readFlags(args: readonly string[]): Flags | 'help' {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...{ trace: text, data: text, speed: text, minutes: text, standbys: text, seed: text },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return 'help'
  return {
    traces: values.trace === undefined ? Object.keys(TRACES) : [values.trace],
    data: values.data ?? DATA,
    speed: wholeNumber('speed', values.speed, 180, [1, 3600]),
    minutes: wholeNumber('minutes', values.minutes, 15, [1, 600]),
    standbys: wholeNumber('standbys', values.standbys, 1, [1, 7]),
    seed: wholeNumber('seed', values.seed, 1, [0, 2 ** 31]),
    json: values.json,
  }
}

function wholeNumber(
  name: string,
  given: string | undefined,
  otherwise: number,
  [least, most]: readonly [number, number],
): number {
  const value = given === undefined ? otherwise : Number(given)
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value
  throw new Error(`--${name} is ${JSON.stringify(given)}: it must be a whole number from ${least} to ${most}`)
}

const say = (line: string) => process.stderr.write(`${line}\n`)

async function main(args: readonly string[]): Promise<number> {
  let flags: Flags | 'help'
  try {
    flags = readFlags(args)
  } catch (error) {
    say(`${messageOf(error)}\n\n${HELP}`)
    return 2
  }
  if (flags === 'help') {
    process.stdout.write(HELP)
    return 0
  }
  const began = performance.now()
  const rows: Row[] = []
  const failures: string[] = []
  for (const [index, name] of flags.traces.entries()) {
    const left = flags.minutes * 60 - (performance.now() - began) / 1000
    const share = left / (flags.traces.length - index)
    try {
      rows.push(await within(name, share * 1000, play(name, flags, Math.min(180, share - AROUND))))
    } catch (error) {
      const hint = isAppError(error, 'input_invalid') && error.hint ? ` ${error.hint}` : ''
      failures.push(`${name}: ${messageOf(error)}${hint}`)
      say(`FAILED: ${failures.at(-1)}`)
    }
  }
  process.stdout.write(`${toTable(rows)}\n`)
  const ok = failures.length === 0 && isMet(rows)
  const { speed, standbys, seed } = flags
  const facts = { schema: 'understudy.traces/v1', speed, standbys, seed, lead_seconds: leadAt(speed) }
  const machine = { cores: availableParallelism(), loadavg: loadavg() }
  if (flags.json) process.stdout.write(`${JSON.stringify({ ...facts, ...machine, rows, failures, ok })}\n`)
  return ok ? 0 : 1
}

async function play(name: string, flags: Flags, realSeconds: number): Promise<Row> {
  const { data, speed, standbys, seed } = flags
  if (realSeconds < 10) throw new Error('there is no time left for it: give more --minutes')
  const known = TRACES[name]
  const whole = readSchedule(known === undefined ? name : join(data, known))
  const { from, schedule } = harshestStretch(whole, realSeconds * speed, seed, DRAWS)
  say(
    `${name}: ${(schedule.seconds / 3600).toFixed(1)} h from hour ${(from / 3600).toFixed(1)} on, ${endsIn(schedule)} ends of capacity, ${speed} times as fast`,
  )
  const played = await playTrace(schedule, { programs: findPrograms(), seed, speed, standbys, say })
  say(
    `  ${played.survived} of ${played.interruptions} interruptions survived, ${played.outage_seconds.toFixed(1)} s without a primary`,
  )
  return {
    ...{ trace: name, from, zones: schedule.zones.length, speed, standbys, played },
    single: singleSpot(schedule, { restart: RESTART, spotShare: SPOT_SHARE, seed }),
  }
}

// A signal ends it as an exit does, so that what it has started is ended too.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
const code = await main(process.argv.slice(2))
// Whatever was given up may still be going on.
process.stdout.write('', () => process.exit(code))
