import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { optionsOf } from '@understudy/shared/testkit/simulation/aims'
import { type Batch, coverageTable } from '@understudy/shared/testkit/simulation/batch'
import { SABOTAGES, type Sabotage } from '@understudy/shared/testkit/simulation/options'
import { explain } from '@understudy/shared/testkit/simulation/shrink'
import { runSchedules } from '@understudy/shared/testkit/simulation/threads'
import { runWorld } from '@understudy/shared/testkit/simulation/world'

/** `pnpm simulate`: as many random schedules of the failover core as there is time for. */

const HELP = `Usage: pnpm simulate [options]

Runs the real failover core on a virtual clock, network and cloud, one random schedule of faults per seed, and checks the
invariants after each step. Exit status 1 when one is violated.

  --runs N          schedules to run (default 20000)
  --seed N          the first seed; each schedule has the next (default 1)
  --workers N       threads (default: one per processor)
  --sabotage NAME   breaks the protocol on purpose: ${SABOTAGES.join(', ')}
  --trace SEED      runs this one schedule and prints what happens in it
  --json            one object as the last line: {runs, violations, elections, handoffs, seed}
  --help            this text
`

interface Flags {
  readonly runs: number
  readonly seed: number
  readonly workers: number
  readonly sabotage: Sabotage | undefined
  readonly trace: number | undefined
  readonly json: boolean
}

/** Throws Error with what to do for what cannot be read. */
function readFlags(args: readonly string[]): Flags | 'help' {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args: [...args],
    options: {
      runs: text,
      seed: text,
      workers: text,
      sabotage: text,
      trace: text,
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return 'help'
  const sabotage = SABOTAGES.find((name) => name === values.sabotage)
  if (values.sabotage !== undefined && sabotage === undefined)
    throw new Error(`--sabotage ${values.sabotage} is not known: take one of ${SABOTAGES.join(', ')}`)
  return {
    runs: wholeNumber('runs', values.runs, 20_000, 1),
    seed: wholeNumber('seed', values.seed, 1, 0),
    workers: wholeNumber('workers', values.workers, availableParallelism(), 1),
    sabotage,
    trace: values.trace === undefined ? undefined : wholeNumber('trace', values.trace, 0, 0),
    json: values.json,
  }
}

function wholeNumber(name: string, given: string | undefined, otherwise: number, least: number): number {
  const value = given === undefined ? otherwise : Number(given)
  if (!Number.isSafeInteger(value) || value < least)
    throw new Error(`--${name} is ${JSON.stringify(given)}: it must be a whole number, ${least} or more`)
  return value
}

async function main(args: readonly string[]): Promise<number> {
  let flags: Flags | 'help'
  try {
    flags = readFlags(args)
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n\n${HELP}`)
    return 2
  }
  if (flags === 'help') {
    process.stdout.write(HELP)
    return 0
  }
  return flags.trace === undefined ? simulate(flags) : trace(flags.trace, flags.sabotage)
}

function trace(seed: number, sabotage: Sabotage | undefined): number {
  const { trace: lines, violations } = runWorld({ ...optionsOf(seed, sabotage), keepTrace: true })
  process.stdout.write(`${lines.join('\n')}\n${violations.join('\n') || 'nothing is violated'}\n`)
  return violations.length > 0 ? 1 : 0
}

async function simulate({ runs, seed, workers, sabotage, json }: Flags): Promise<number> {
  const sum = await runSchedules({ seed, runs, workers, sabotage, onProgress: progress(runs) })
  process.stderr.write('\n')
  process.stdout.write(`${coverageTable(sum)}\n${summary(sum)}\n`)
  const [first] = sum.failures
  if (first) {
    process.stdout.write(`${sum.failures.map(({ violation }) => violation).join('\n')}\n\n`)
    const again = sabotage ? ` --sabotage ${sabotage}` : ''
    process.stdout.write(`Seed ${first.seed} (pnpm simulate --trace ${first.seed}${again}), shrunk:\n`)
    process.stdout.write(`${explain(optionsOf(first.seed, sabotage))}\n`)
  }
  const { violations, elections, handoffs } = sum
  if (json) process.stdout.write(`${JSON.stringify({ runs, violations, elections, handoffs, seed })}\n`)
  return violations > 0 ? 1 : 0
}

const summary = ({ runs, violations, elections, handoffs, successions }: Batch): string =>
  `${runs} schedules: ${violations} with a violation; per schedule ${(elections / runs).toFixed(2)} elections, ` +
  `${(handoffs / runs).toFixed(2)} of them hand-overs, ${(successions / runs).toFixed(2)} changes of successor`

/** One line that is written over, at most four times a second. */
function progress(runs: number): (sum: Batch) => void {
  const start = performance.now()
  let said = 0
  return (sum) => {
    const now = performance.now()
    if (now - said < 250 && sum.runs < runs) return
    said = now
    const rate = sum.runs / ((now - start) / 1000)
    process.stderr.write(
      `\r${sum.runs} of ${runs}, ${sum.violations} with a violation, ${rate.toFixed(0)}/s `,
    )
  }
}

process.exitCode = await main(process.argv.slice(2))
