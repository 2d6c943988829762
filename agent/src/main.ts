import { createInterface } from 'node:readline/promises'
import { parseArgs } from 'node:util'
import { AppError, isAppError, toFailure } from '@understudy/shared/core/app-error'
import { badFlags, flagsOf, helpOf, keysOfFlags, suggest } from '@understudy/shared/core/options'
import { formatMillis, systemClock } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { runAgent } from './agent.ts'
import { askCommit, commitBudget } from './commit/commit.ts'
import { openDataDirectory, recordIn, statusSocketOf } from './config/data-directory.ts'
import { DEFAULT_CONFIG_FILE, type LoadedConfig, loadConfig } from './config/load.ts'
import { agentOptions } from './config/options.ts'
import { drillCommand } from './drill/drill.ts'
import { startServiceWatchdog } from './guard/service-watchdog.ts'
import { printRecord, readRecord } from './record/record.ts'
import { listSnapshots, restoreCommand, snapshotCommand } from './snapshot/snapshot.ts'
import { doctor } from './status/doctor.ts'
import { printStatus } from './status/print-status.ts'
import { askStatus } from './status/status-socket.ts'
import { AGENT_VERSION } from './version.ts'

const commands = [
  'run',
  'status',
  'commit',
  'record',
  'snapshot',
  'snapshots',
  'restore',
  'drill',
  'doctor',
] as const
type Command = (typeof commands)[number]

const HELP = `understudy-agent ${AGENT_VERSION}: protects one workload on one instance

Usage: agent <command> [--config <file>] [options]

Commands:
  run      protect the workload until stopped (systemd runs this)
  status   what the running agent says of itself; exit 8 when it is degraded
  commit   wait until everything written so far is durable on a replica
  record   which instances were primary and why, as far as this one knows
  snapshot   let the running agent make a snapshot of the state now
  snapshots  list the snapshots of this agent, the newest first
  restore    put a snapshot into the empty state directories, with the agent stopped
  drill    move this agent to a replica now, as in a real failover, and report
  doctor   check configuration, metadata service, coordinator, directories and hooks, one line each

Options (flags win over environment, environment over file):
  --config <file>  (default ${DEFAULT_CONFIG_FILE})
  --json           one JSON object on standard output (all but run)
  --at <id>        which snapshot to restore (default the newest)
  --force          move aside what is in the state directories (restore)
  --agent <id>     whose snapshots, if this instance has not joined (snapshots, restore)
  --timeout <seconds>  how long commit waits (default 10)
  --switch-back    move back once the old primary is ready again (drill)
  --yes            do not ask (drill)
${helpOf(agentOptions)}

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, 5 not allowed, 6 not reachable, 7 outcome not known, 8 degraded, 78 configuration
`

interface Invocation {
  readonly command: Command
  readonly file: string
  readonly json: boolean
  readonly timeout: string | undefined
  readonly at: string | undefined
  readonly force: boolean
  readonly agent: string | undefined
  readonly switchBack: boolean
  readonly yes: boolean
  readonly flags: Record<string, unknown>
}

function parseInvocation(argv: readonly string[]): Invocation | 'help' | 'version' {
  const { values, positionals } = parseFlags(argv)
  const { help, version, json, config, timeout, at, force, agent, yes, ...rest } = values
  const { 'switch-back': switchBack, ...flags } = rest
  if (version) return 'version'
  const [word, ...more] = positionals
  if (help || word === undefined || word === 'help') return 'help'
  const command = commands.find((known) => known === word)
  if (!command || more.length > 0)
    throw new AppError(
      'input_invalid',
      `unknown command "${positionals.join(' ')}"${suggest(word, commands)}`,
      {
        hint: 'agent --help lists the commands.',
      },
    )
  return {
    command,
    file: textOf(config) ?? DEFAULT_CONFIG_FILE,
    json: json === true,
    timeout: textOf(timeout),
    at: textOf(at),
    force: force === true,
    agent: textOf(agent),
    switchBack: switchBack === true,
    yes: yes === true,
    flags: keysOfFlags(flags),
  }
}

const textOf = (value: string | boolean | undefined): string | undefined =>
  typeof value === 'string' ? value : undefined

function parseFlags(argv: readonly string[]) {
  const options = {
    ...flagsOf(agentOptions),
    config: { type: 'string' },
    json: { type: 'boolean' },
    timeout: { type: 'string' },
    at: { type: 'string' },
    force: { type: 'boolean' },
    agent: { type: 'string' },
    'switch-back': { type: 'boolean' },
    yes: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean' },
  } as const
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true, allowNegative: true })
  } catch (error) {
    throw badFlags(error, Object.keys(options), 'agent --help lists the options.')
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const invocation = parseInvocation(argv)
  if (invocation === 'help') return print(HELP)
  if (invocation === 'version') return print(`${AGENT_VERSION}\n`)
  const { command, file, json, flags } = invocation
  assertOwnFlags(invocation)
  if (command === 'doctor') return doctor({ file, flags, env: process.env, json, print })
  const loaded = loadConfig(file, flags, process.env)
  switch (command) {
    case 'run':
      return run(loaded)
    case 'snapshot':
    case 'snapshots':
    case 'restore':
      return aboutSnapshots(command, invocation, loaded.config)
    case 'drill':
      return drill(invocation, loaded.config)
    case 'commit':
      return commit(invocation, loaded.config)
    case 'record':
      return record(json, loaded.config)
    case 'status':
      return status(json, loaded.config)
  }
}

/** @throws AppError `input_invalid` */
function assertOwnFlags({ command, timeout, switchBack, yes }: Invocation): void {
  if (timeout !== undefined && command !== 'commit')
    throw new AppError('input_invalid', `--timeout belongs to commit, not to ${command}`)
  if ((switchBack || yes) && command !== 'drill')
    throw new AppError('input_invalid', `--switch-back and --yes belong to drill, not to ${command}`)
}

type Config = LoadedConfig['config']

const drill = ({ json, switchBack, yes }: Invocation, config: Config): Promise<number> =>
  drillCommand({
    ...{ json, switchBack, yes, clock: systemClock, print },
    coordinatorUrl: config.coordinator_url,
    dataDirectory: config.data_dir,
    progress: (text) => process.stderr.write(text),
    ask: process.stdin.isTTY ? ask : undefined,
  })

async function commit({ json, timeout }: Invocation, config: Config): Promise<number> {
  const { data_dir: data, commit_socket: socket } = config
  const answer = await askCommit(socket ?? statusSocketOf(data), commitBudget(timeout))
  return print(
    json
      ? `${JSON.stringify(answer)}\n`
      : `durable on ${answer.durable_on.join(', ')} after ${formatMillis(answer.took_ms)}\n`,
  )
}

function record(json: boolean, config: Config): number {
  const known = readRecord(recordIn(config.data_dir), systemClock.now())
  return print(
    json ? `${JSON.stringify({ schema: 'understudy.agent-record/v1', ...known })}\n` : printRecord(known),
  )
}

async function status(json: boolean, config: Config): Promise<number> {
  const said = await askStatus(statusSocketOf(config.data_dir))
  print(json ? `${JSON.stringify(said)}\n` : printStatus(said))
  return said.degraded.length > 0 || !said.connected ? 8 : 0
}

function aboutSnapshots(
  command: 'snapshot' | 'snapshots' | 'restore',
  { json, at, force, agent }: Invocation,
  config: Config,
): Promise<number> {
  if ((at !== undefined || force) && command !== 'restore')
    throw new AppError('input_invalid', `--at and --force belong to restore, not to ${command}`)
  const progress = (text: string) => process.stderr.write(text)
  const parts = { config, json, agent, clock: systemClock, print, progress }
  if (command === 'snapshot') return snapshotCommand(parts)
  if (command === 'snapshots') return listSnapshots(parts)
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => stop.abort(new AppError('outcome_unknown', STOPPED)))
  return restoreCommand({ ...parts, at, force, signal: stop.signal })
}

async function ask(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await terminal.question(question)).trim())
  } finally {
    terminal.close()
  }
}

const STOPPED = 'stopped: the same command goes on where this one was'

async function run({ config, file }: LoadedConfig): Promise<number> {
  const log = pino({
    level: config.log_level,
    base: { service: 'understudy-agent' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level) => ({ level }) },
  })
  const watchdog = startServiceWatchdog({ environment: process.env, clock: systemClock, log })
  const stop = new AbortController()
  const onSignal = (name: NodeJS.Signals) => {
    log.info({ event: 'agent.stopping', signal: name })
    // The second one does not wait.
    process.once(name, () => process.exit(130))
    stop.abort()
  }
  process.once('SIGTERM', onSignal)
  process.once('SIGINT', onSignal)
  const data = openDataDirectory(config.data_dir)
  log.info({ event: 'agent.starting', version: AGENT_VERSION, file, state: config.workload.state })
  try {
    await runAgent({ config, data, clock: systemClock, random: Math.random, log, watchdog }, stop.signal)
    return 0
  } catch (error) {
    if (stop.signal.aborted) return 0
    if (isAppError(error))
      log.error({ event: 'agent.failed', code: error.code, why: error.message, hint: error.hint })
    throw error
  } finally {
    await watchdog.close()
    data.unlock()
  }
}

function print(text: string): number {
  process.stdout.write(text)
  return 0
}

function fail(error: unknown): number {
  const { text, exit } = toFailure(error)
  process.stderr.write(text)
  return exit
}

// Timers and sockets that are left do not keep a command that has ended.
process.exit(await main(process.argv.slice(2)).catch(fail))
