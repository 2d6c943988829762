import { AppError, toFailure } from '@understudy/shared/core/app-error'
import { commands, HELP, parseInvocation } from './command-line.ts'
import { COORDINATOR_VERSION } from './version.ts'

/** Hidden: the parts of the demo that run as processes of their own. */
const parts: Readonly<Record<string, () => Promise<number>>> = {
  'demo-coordinator': async () => (await import('./commands/serve.ts')).serveForDemo(),
  'demo-judge': async () => {
    const { runJudge } = await import('./demo/judge.ts')
    await runJudge(process.stdin, process.stdout)
    return 0
  },
  'demo-workload': async () => {
    const { runKeyValueServer } = await import('./demo/kv-server.ts')
    runKeyValueServer(process.env)
    return new Promise<number>(() => undefined)
  },
}

async function main(argv: readonly string[]): Promise<number> {
  const part = parts[argv[0] ?? '']
  if (part) return part()
  const invocation = parseInvocation(argv)
  if (invocation === 'help') return print(HELP)
  if (invocation === 'version') return print(`${COORDINATOR_VERSION}\n`)
  const { command } = invocation
  switch (command) {
    case 'serve':
      return (await import('./commands/serve.ts')).serve(invocation)
    case 'demo':
      return (await import('./commands/demo.ts')).demo(invocation)
    case 'migrate':
      return (await import('./commands/migrate.ts')).migrateDatabase(invocation, print)
    case 'token':
      return (await import('./commands/token.ts')).token(invocation, print)
    case 'import':
      return (await import('./commands/import.ts')).importData(invocation, print)
    case 'catalog':
      return (await import('./commands/catalog.ts')).catalog(invocation, print)
    case 'backtest':
      return (await import('./commands/backtest.ts')).backtest(invocation, print)
    case 'decide':
      return (await import('./commands/decide.ts')).decide(invocation, print)
    case 'replay':
      return (await import('./commands/replay.ts')).replay(invocation, print)
    case 'notify':
      return (await import('./commands/notify.ts')).notify(invocation, print)
    case 'imds-sim':
      return (await import('./commands/imds-sim.ts')).imdsSim(invocation)
    default:
      throw new AppError('input_invalid', `unknown command ${command satisfies never}`, {
        hint: `Commands: ${commands.join(', ')}`,
      })
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
