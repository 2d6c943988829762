import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** `pnpm check`: everything that can be said about the code without running it. Cheap ones are told first. */

const root = fileURLToPath(new URL('..', import.meta.url))
const bin = (name: string) => `${root}node_modules/.bin/${name}`

interface Check {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** What else in the output means that it failed. */
  readonly refuses?: RegExp
}

const { values: flags } = parseArgs({
  options: {
    fix: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
if (flags.help) {
  process.stdout.write('Usage: pnpm check [--fix]\n\n  --fix  let Biome write what it can mend by itself\n')
  process.exit(0)
}

const packages = ['agent', 'coordinator', 'shared', 'dashboard/src', 'models', 'test', '.ci']

const checks: readonly Check[] = [
  {
    name: 'biome (format, lint)',
    command: bin('biome'),
    args: [...(flags.fix ? ['check', '--write'] : ['ci']), '--colors=off', '--error-on-warnings', '.'],
  },
  {
    name: 'oxlint (type-aware)',
    command: bin('oxlint'),
    args: ['--type-aware', '--deny-warnings'],
  },
  { name: 'tsc', command: bin('tsc'), args: ['-p', '.'] },
  {
    name: 'dependency-cruiser (import rules)',
    command: bin('depcruise'),
    args: packages,
    // Without a TypeScript that it can load it skips every file and finds nothing wrong.
    refuses: /missing-tsc-transpiler|\(?\b0 modules/,
  },
  { name: 'knip (dead code)', command: bin('knip'), args: ['--treat-config-hints-as-errors'] },
  {
    name: 'svelte-check',
    command: `${root}dashboard/node_modules/.bin/svelte-check`,
    args: ['--workspace', 'dashboard', '--tsconfig', 'tsconfig.json', '--fail-on-warnings'],
  },
  {
    name: 'docs/configuration.md is current',
    command: process.execPath,
    args: ['.ci/docs.ts', '--check'],
  },
]

interface Outcome {
  readonly ok: boolean
  /** What it printed. */
  readonly output: string
  readonly took: string
}

function run({ command, args, refuses }: Check): Promise<Outcome> {
  const start = performance.now()
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    const take = (chunk: Buffer) => {
      output += chunk.toString('utf8')
    }
    const end = (ok: boolean) =>
      resolve({ ok, output, took: `${((performance.now() - start) / 1000).toFixed(1)} s` })
    child.stdout.on('data', take)
    child.stderr.on('data', take)
    child.once('error', (error) => {
      output = error.message
      end(false)
    })
    child.once('close', (code) => end(code === 0 && !refuses?.test(output)))
  })
}

/** Some of them use one core only, so that two at a time are done sooner. */
const AT_ONCE = 2

const all = checks.map((check) => ({ check, done: Promise.withResolvers<Outcome>() }))
const left = [...all]
async function work(): Promise<void> {
  for (let next = left.shift(); next; next = left.shift()) next.done.resolve(await run(next.check))
}
const working = Promise.all(Array.from({ length: AT_ONCE }, work))

let failed = 0
for (const { check, done } of all) {
  const { ok, output, took } = await done.promise
  process.stdout.write(`${ok ? 'ok  ' : 'FAIL'} ${check.name.padEnd(34)} ${took}\n`)
  if (ok) continue
  failed += 1
  process.stdout.write(`${output.trimEnd()}\n\n`)
}
await working
if (failed > 0) process.stdout.write(`${failed} of ${checks.length} checks failed\n`)
process.exitCode = failed > 0 ? 1 : 0
