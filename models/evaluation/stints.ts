import { readdir, readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { readTrace, type Trace } from '../../coordinator/src/backtest/trace-market.ts'
import { AppError } from '../../shared/src/core/app-error.ts'
import { type Pool, parsePool } from '../../shared/src/market/pool.ts'

/** One instance from its start until it was taken away, or until the record ends. Hours since the record began. */
export interface Stint {
  readonly pool: Pool
  readonly from: number
  readonly to: number
  readonly interrupted: boolean
}

/** What was recorded at one time: its pools share a clock, and nothing with another record. */
export interface StintSet {
  readonly name: string
  readonly hours: number
  readonly stints: readonly Stint[]
}

/** What the names of the files stand for. Source: the data set's own description. */
const TYPES: Readonly<Record<string, string>> = {
  'v100.1': 'p3.2xlarge',
  'v100.8': 'p3.16xlarge',
  'k80.1': 'p2.xlarge',
  'k80.8': 'p2.8xlarge',
  'intel.64': 'r5.16xlarge',
}
/** Bamboo's record names neither its type nor its zone. */
const UNNAMED: Pool = { instanceType: 'p3.2xlarge', availabilityZone: 'unknown' }

/**
 * Preemption sets of a folder in the form of skypilot-org/spot-traces, each folder of files a set, and `p3-trace.csv` (Bamboo's
 * `t_ms,add|remove,node`). Availability sets are left out: they count launches that would succeed, and nobody was interrupted.
 * @throws AppError `input_invalid`
 */
export async function readStintSets(folder: string): Promise<readonly StintSet[]> {
  const files = await readdir(folder, { recursive: true }).catch((cause: unknown) => {
    throw new AppError('input_invalid', `${folder} cannot be read`, {
      hint: 'Name the folder that has preemption/ and p3-trace.csv, such as ../shared/data/traces.',
      cause,
    })
  })
  const watched = files.filter((file) => /(^|[/\\])preemption[/\\].*\.json(\.gz)?$/.test(file)).sort()
  const sets: StintSet[] = []
  for (const [name, own] of Map.groupBy(watched, (file) => basename(dirname(file))))
    sets.push(toSet(name, await Promise.all(own.map((file) => readOne(join(folder, file))))))
  if (files.includes('p3-trace.csv'))
    sets.push(joinLeaveSet('p3-trace', await readFile(join(folder, 'p3-trace.csv'), 'utf8')))
  if (sets.length === 0)
    throw new AppError('input_invalid', `${folder} has neither preemption/ with traces nor p3-trace.csv`)
  return sets
}

async function readOne(path: string): Promise<Trace> {
  const bytes = await readFile(path)
  return readTrace({
    name: basename(path),
    text: (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8'),
  })
}

function toSet(name: string, traces: readonly Trace[]): StintSet {
  const hoursOf = ({ data, gapSeconds }: Trace) => (data.length * gapSeconds) / 3600
  return {
    name,
    hours: Math.min(...traces.map(hoursOf)),
    stints: traces.flatMap(stintsOf),
  }
}

/** An instance that runs at the first tick began before the record: when is not known, so it is left out. */
export function stintsOf({ kind, zone, gapSeconds, data }: Trace): Stint[] {
  const type = TYPES[kind]
  if (type === undefined)
    throw new AppError('input_invalid', `it is not known which instance type ${kind} is`, {
      hint: `Known are ${Object.keys(TYPES).join(', ')}.`,
    })
  const pool = parsePool(`${type}@${zone}`)
  const at = (tick: number) => (tick * gapSeconds) / 3600
  const stints: Stint[] = []
  let began: number | undefined
  for (const [tick, count] of data.entries()) {
    const before = data[tick - 1] ?? count
    if (count > 0 && before === 0) began = tick
    if (count === 0 && began !== undefined) {
      stints.push({ pool, from: at(began), to: at(tick), interrupted: true })
      began = undefined
    }
  }
  if (began !== undefined) stints.push({ pool, from: at(began), to: at(data.length), interrupted: false })
  return stints
}

/** `t_ms,add|remove,node` a line, in the order of time. @throws AppError `input_invalid` naming the line */
export function joinLeaveSet(name: string, text: string): StintSet {
  const began = new Map<string, number>()
  const stints: Stint[] = []
  let last = 0
  for (const [i, line] of text.trim().split('\n').entries()) {
    const [time = '', what, node = ''] = line.trim().split(',')
    const at = Number(time) / 3_600_000
    if (time === '' || !(at >= last) || node === '' || (what !== 'add' && what !== 'remove'))
      throw new AppError(
        'input_invalid',
        `line ${i + 1} of ${name} is not t_ms,add|remove,node in the order of time`,
      )
    last = at
    const from = began.get(node)
    if (what === 'add') began.set(node, at)
    else if (from !== undefined) {
      stints.push({ pool: UNNAMED, from, to: at, interrupted: true })
      began.delete(node)
    }
  }
  for (const from of began.values()) stints.push({ pool: UNNAMED, from, to: last, interrupted: false })
  return { name, hours: last, stints: stints.filter(({ from, to }) => to > from) }
}
