import { parseArgs } from 'node:util'
import { AppError } from '@understudy/shared/core/app-error'
import { badFlags, flagsOf, helpOf, keysOfFlags, suggest } from '@understudy/shared/core/options'
import { coordinatorOptions } from './config/options.ts'
import { COORDINATOR_VERSION } from './version.ts'

export const commands = [
  'serve',
  'demo',
  'migrate',
  'token',
  'import',
  'catalog',
  'backtest',
  'decide',
  'replay',
  'notify',
  'imds-sim',
] as const
export type Command = (typeof commands)[number]

export const HELP = `understudy-coordinator ${COORDINATOR_VERSION}: decides who is primary, and shows it

Usage: coordinator <command> [options]

Commands:
  serve                run the coordinator (systemd runs this)
  demo                 the whole system on this machine, with simulated AWS; Ctrl-C ends it and leaves nothing behind
      --port <port>        port of the page (default 8000, or the next free one)
      --seed <number>      another story (default 1)
      --agents <count>     how many agents (default 5)
      --no-open            do not open a browser
      --script ci          a fixed story without a browser; one JSON object as the last line, exit 0 if all held
      --keep-logs          keep the logs of all processes
  migrate              bring the database up to date; --dry-run only says what it would do
  token create --name <name> --role <viewer|operator|admin> [--days <n>]    a token for a person or a program
  token join --agent <id> [--name <name>] [--instance <i-…>]                a one-time token for a new instance
  token list | token revoke <id>
  import prices <file>  spot price history: CSV, JSON of DescribeSpotPriceHistory, or TSV with zone ids; plain, gzip or zstd
      --format <csv|json|tsv>  found out by default
      --region <region>        only rows of that region
      --zones <file>           which zone ids are which zones: JSON of DescribeAvailabilityZones; the catalog's by default
  catalog show | catalog refresh [--region <region>]    what is known of types, zones, on-demand prices and interruptions
  catalog import <file> [--as-of <day>]                 from a file in place of AWS
  catalog export [<file>] --region <region>             static_intelligence.json
  backtest --prices <file> --types <file> and/or --trace <file or folder>   what policies would have cost: docs/backtests.md
      --types <file>           CSV with region,instance_type,vcpu,memory_gib,ondemand_usd_per_hour
      --policy <a,b>           of stay, cheapest, seed-v1, effective-cost-v1, on-demand; all by default
      --workloads <count>      one per instance type, at most so many (default 48)
      --every <hours>          between decisions (default 1)
      --region, --zones        as with import
      --html <file>, --json    also a page with charts; JSON in place of tables
  decide               lets the coordinator that runs decide for the whole fleet now, and shows what it decided and why
      --url <url>              where it listens (COORDINATOR_URL; default http://127.0.0.1:8000)
      --token-file <file>      holds a token of an operator (COORDINATOR_TOKEN or COORDINATOR_TOKEN_FILE); the demo needs none
  replay <decision id>  makes a stored decision again; exit 0 if it comes out the same byte by byte
  notify test [<receiver>]  sends a message to those who are told of incidents; exit 0 if all got it
  imds-sim             a metadata service for your own tests
      --port <port>        (default 1338)
      --script <file>      what happens when: docs/imds-simulator.md
      --instance-type, --zone, --instance-id
      --identity-key <file>  signs identity documents; made if it is not there, so that several can share one

Options of serve, migrate, token, import, catalog, replay and notify (flags win over environment, environment over file):
  --config <file>      YAML; the keys are the flags with underscores
  --json               one JSON object on standard output (decide too)
${helpOf(coordinatorOptions)}

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, 5 not allowed, 6 not reachable, 78 configuration, 130 interrupted
`

export interface Invocation {
  readonly command: Command
  /** Words after the command. */
  readonly words: readonly string[]
  readonly configFile: string | undefined
  readonly json: boolean
  /** Flags of the options table. */
  readonly settings: Readonly<Record<string, unknown>>
  /** Flags of one command. */
  readonly own: Readonly<Record<string, string | boolean | undefined>>
}

const ownFlags = {
  port: { type: 'string' },
  seed: { type: 'string' },
  agents: { type: 'string' },
  open: { type: 'boolean' },
  script: { type: 'string' },
  'keep-logs': { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  name: { type: 'string' },
  role: { type: 'string' },
  days: { type: 'string' },
  agent: { type: 'string' },
  instance: { type: 'string' },
  'instance-type': { type: 'string' },
  'instance-id': { type: 'string' },
  'identity-key': { type: 'string' },
  zone: { type: 'string' },
  format: { type: 'string' },
  region: { type: 'string' },
  zones: { type: 'string' },
  'as-of': { type: 'string' },
  prices: { type: 'string' },
  trace: { type: 'string' },
  types: { type: 'string' },
  policy: { type: 'string' },
  workloads: { type: 'string' },
  every: { type: 'string' },
  html: { type: 'string' },
  url: { type: 'string' },
  'token-file': { type: 'string' },
} as const

const allowed: Readonly<Record<Command, readonly (keyof typeof ownFlags)[]>> = {
  serve: [],
  demo: ['port', 'seed', 'agents', 'open', 'script', 'keep-logs'],
  migrate: ['dry-run'],
  token: ['name', 'role', 'days', 'agent', 'instance'],
  import: ['format', 'region', 'zones'],
  catalog: ['region', 'as-of'],
  backtest: ['prices', 'trace', 'types', 'policy', 'workloads', 'every', 'region', 'zones', 'html'],
  decide: ['url', 'token-file'],
  replay: [],
  notify: [],
  'imds-sim': ['port', 'script', 'instance-type', 'instance-id', 'zone', 'identity-key'],
}

const takesWords: readonly Command[] = ['token', 'import', 'catalog', 'replay', 'notify']

/** @throws AppError `input_invalid` with a suggestion */
export function parseInvocation(argv: readonly string[]): Invocation | 'help' | 'version' {
  const { values, positionals } = parseFlags(argv)
  const { help, version, json, config, ...rest } = values as Record<string, string | boolean | undefined>
  if (version) return 'version'
  const [word, ...words] = positionals
  if (help || word === undefined || word === 'help') return 'help'
  const command = commands.find((known) => known === word)
  if (!command)
    throw new AppError('input_invalid', `unknown command "${word}"${suggest(word, commands)}`, {
      hint: 'coordinator --help lists the commands.',
    })
  if (!takesWords.includes(command) && words.length > 0)
    throw new AppError('input_invalid', `${command} takes no "${words.join(' ')}"`, {
      hint: 'coordinator --help lists the options of each command.',
    })
  const own: Record<string, string | boolean | undefined> = {}
  const settings: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(rest)) {
    if (!(name in ownFlags)) settings[name] = value
    else if (allowed[command].some((flag) => flag === name)) own[name] = value
    else
      throw new AppError('input_invalid', `${command} has no option --${name}`, {
        hint: 'coordinator --help lists the options of each command.',
      })
  }
  return {
    command,
    words,
    configFile: typeof config === 'string' ? config : undefined,
    json: json === true,
    settings: keysOfFlags(settings),
    own,
  }
}

function parseFlags(argv: readonly string[]) {
  const options = {
    ...flagsOf(coordinatorOptions),
    ...ownFlags,
    config: { type: 'string' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean' },
  } as const
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true, allowNegative: true })
  } catch (error) {
    throw badFlags(error, Object.keys(options), 'coordinator --help lists the options.')
  }
}

/** A whole number given as a flag. */
export function numberFlag(
  value: string | boolean | undefined,
  name: string,
  low: number,
  high: number,
): number | undefined {
  if (value === undefined) return undefined
  const number = Number(value)
  if (Number.isInteger(number) && number >= low && number <= high) return number
  throw new AppError(
    'input_invalid',
    `--${name} is "${String(value)}": it must be a whole number from ${low} to ${high}`,
  )
}
