import { parseArgs } from 'node:util'
import type { Bench, Given } from './bench.ts'

/** `pnpm bench NAME`: each measures one promise of the product, side by side with what it is compared with. */

const benches: Readonly<Record<string, () => Promise<{ bench: Bench }>>> = {
  codecs: () => import('./codecs.ts'),
  dashboard: () => import('./dashboard.ts'),
  failover: () => import('./failover.ts'),
  market: () => import('./market.ts'),
  models: () => import('./models.ts'),
  pipeline: () => import('./pipeline.ts'),
  replication: () => import('./replication.ts'),
}

async function main([name, ...args]: readonly string[]): Promise<number> {
  const load = benches[name ?? '']
  if (!load) {
    const asked = name === undefined || name === '--help' || name === '-h'
    process.stderr.write(
      `${asked ? '' : `unknown benchmark ${name}\n`}Usage: pnpm bench NAME [options] [--json]\nBenchmarks: ${Object.keys(benches).join(', ')}\n`,
    )
    return asked ? 0 : 2
  }
  const { bench } = await load()
  const { values } = parseArgs({
    args,
    options: {
      ...ofType('string', { ...bench.options, ...bench.texts }),
      ...ofType('boolean', bench.switches ?? {}),
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help) {
    process.stdout.write(`${bench.summary}\n\n${describe(bench)}\n  --json  one object as the last line\n`)
    return 0
  }
  const progress = (line: string) => process.stderr.write(`${line}\n`)
  const result = await bench.run(readNumbers(bench, values), progress, readGiven(bench, values))
  process.stdout.write(`${result.table}\n`)
  if (values.json) process.stdout.write(`${JSON.stringify(result.json)}\n`)
  return result.ok ? 0 : 1
}

const ofType = <T extends 'string' | 'boolean'>(type: T, options: object) =>
  Object.fromEntries(Object.keys(options).map((key) => [key, { type }]))

const describe = ({ options, texts = {}, switches = {} }: Bench): string =>
  [
    ...Object.entries(options).map(
      ([key, { doc, value }]) => `  --${key} <number>  ${doc} (default ${value})`,
    ),
    ...Object.entries(texts).map(
      ([key, { doc, value }]) => `  --${key} <text>  ${doc}${value === '' ? '' : ` (default ${value})`}`,
    ),
    ...Object.entries(switches).map(([key, doc]) => `  --${key}  ${doc}`),
  ].join('\n')

function readGiven({ texts = {}, switches = {} }: Bench, values: Readonly<Record<string, unknown>>): Given {
  const given = Object.entries(texts).map(([key, { value }]) => [key, values[key] ?? value])
  const set = Object.keys(switches).map((key) => [key, values[key] === true])
  return { texts: Object.fromEntries(given), switches: Object.fromEntries(set) }
}

function readNumbers(bench: Bench, values: Readonly<Record<string, unknown>>): Record<string, number> {
  const numbers: Record<string, number> = {}
  for (const [key, { value }] of Object.entries(bench.options)) {
    const given = values[key] === undefined ? value : Number(values[key])
    if (!Number.isInteger(given) || given < 0)
      throw new Error(`--${key} is ${JSON.stringify(values[key])}: it must be a whole number, 0 or more`)
    numbers[key] = given
  }
  return numbers
}

// A signal ends it as an exit does, so that what it has started is ended too.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
const code = await main(process.argv.slice(2))
// Node may spin for ever when it ends by itself while a reset connection is still being closed (24.21, CleanupHandles).
process.stdout.write('', () => process.exit(code))
