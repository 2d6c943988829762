import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { parseSpotAdvisor } from '../../coordinator/src/market/spot-advisor.ts'
import { AppError } from '../../shared/src/core/app-error.ts'
import { PARENT_EVENTS } from '../../shared/src/interruption/rate-book.ts'
import { type InterruptionBand, type Pool, regionOf } from '../../shared/src/market/pool.ts'
import { estimators, evaluateSet, type SetEvaluation } from './interruption-evaluation.ts'
import type { Difference } from './interruption-scores.ts'
import { readStintSets } from './stints.ts'

/** `pnpm models:interruptions`: how good the estimates of interruptions are, on records of instances that really ran. */

const USAGE = `Usage: pnpm models:interruptions --traces DIR [options]

  --traces DIR        has preemption/ in the form of skypilot-org/spot-traces, and p3-trace.csv of uclasystem/bamboo
  --advisor FILE      a Spot Advisor file from before the traces; without it no band is known
  --hours H           look ahead this far (may be given several times; default 1, 2 and 12)
  --split SHARE       this part of each record trains, the rest tests (default 0.6)
  --parent-events K   what the level above counts as (default ${PARENT_EVENTS})
  --json              everything, for programs
`

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      traces: { type: 'string' },
      advisor: { type: 'string' },
      hours: { type: 'string', multiple: true, default: ['1', '2', '12'] },
      split: { type: 'string', default: '0.6' },
      'parent-events': { type: 'string', default: String(PARENT_EVENTS) },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help || !values.traces) {
    process.stderr.write(USAGE)
    return values.help ? 0 : 2
  }
  const sets = await readStintSets(values.traces)
  const settings = {
    split: toNumber(values.split, '--split', 1),
    parentEvents: toNumber(values['parent-events'], '--parent-events', 1000),
    bandOf: values.advisor === undefined ? () => null : await bandsOf(values.advisor),
  }
  const horizons = values.hours.map((text) => toNumber(text, '--hours', 168))
  const found = sets.flatMap((set) =>
    horizons.flatMap((horizonHours) => evaluateSet(set, { ...settings, horizonHours }) ?? []),
  )
  if (found.length === 0)
    throw new AppError('input_invalid', 'no record is long enough for these horizons', {
      hint: 'Ask for fewer hours, or another split.',
    })
  process.stdout.write(values.json ? `${JSON.stringify(found, null, 1)}\n` : found.map(toTable).join('\n'))
  return 0
}

async function bandsOf(path: string): Promise<(pool: Pool) => InterruptionBand | null> {
  const bytes = await readFile(path)
  const { entries } = parseSpotAdvisor((path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8'))
  const bands = new Map(
    entries
      .filter(({ os }) => os === 'Linux')
      .map((entry) => [`${entry.instanceType} ${entry.region}`, entry.band]),
  )
  return ({ instanceType, availabilityZone }) =>
    bands.get(`${instanceType} ${regionOf(availabilityZone)}`) ?? null
}

function toTable(found: SetEvaluation): string {
  const { trained, tested, scores } = found
  const fixed = (value: number) => value.toFixed(4)
  const shown = ({ mean, interval }: Difference) =>
    interval === null ? fixed(mean) : `${fixed(mean)} (${interval.map(fixed).join(' to ')})`
  const lines = estimators.map((name) => {
    const { logLoss, brier, calibration, overConstant, overOwn } = scores[name]
    const over = name === 'constant' ? '' : shown(overConstant)
    const own = name.startsWith('own history, ') ? shown(overOwn) : ''
    return `| ${name} | ${fixed(logLoss)} | ${over} | ${own} | ${fixed(brier)} | ${calibration.toFixed(3)} |`
  })
  const about = [
    `${found.set}, ${found.horizonHours} h ahead:`,
    `trained on ${trained.interruptions} interruptions in ${trained.instanceHours.toFixed(0)} instance-hours,`,
    `tested on ${tested.interruptions} (${tested.rows} rows, ${(100 * tested.share).toFixed(1)} % interrupted)`,
  ].join(' ')
  return [
    about,
    '',
    '| | log loss | less constant (95 %) | less own history (95 %) | Brier | predicted / seen |',
    '|---|---|---|---|---|---|',
    ...lines,
    '',
  ].join('\n')
}

function toNumber(text: string, flag: string, below: number): number {
  const number = Number(text)
  if (number > 0 && number <= below) return number
  throw new AppError('input_invalid', `${flag} ${text} is not a number above 0 and at most ${below}`)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof AppError)) throw error
  process.stderr.write(`${error.message}\n${error.hint ? `${error.hint}\n` : ''}`)
  process.exitCode = 1
}
