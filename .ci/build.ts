import { createHash } from 'node:crypto'
import { chmod, copyFile, cp, mkdir, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'vite'
import { buildDashboard, dashboardFolder } from './dashboard-build.ts'
import { dashboardWeights } from './dashboard-weight.ts'

/**
 * `pnpm build`: what is put on machines, in `dist/`. One JavaScript file for the agent, one for its second thread, and
 * one for snapshots in S3; one for the coordinator, one for the processes of models and one for models in S3, with the native files of SQLite and of
 * the ONNX runtime, the default model and the dashboard beside them; and the SHA-256 of each file.
 */

const root = fileURLToPath(new URL('..', import.meta.url))
const target = join(root, 'dist')

/** Where the coordinator looks for it (coordinator/src/models/default-model.ts); its card and figures stay here. */
const DEFAULT_MODEL = 'models/registry/price-instability/1.0.0'

/** The agent is downloaded onto every instance and the dashboard into every browser, so both are watched. */
const budgets: Readonly<Record<string, number>> = {
  'agent.js': 1100 * 1024,
  'agent-voter.js': 400 * 1024,
  'agent-s3.js': 800 * 1024,
  'coordinator.js': 5600 * 1024,
  'coordinator-model-host.js': 64 * 1024,
  'coordinator-s3.js': 800 * 1024,
  'dashboard/assets': 420 * 1024,
  [DEFAULT_MODEL]: 1024 * 1024,
}

/** Which of SQLite's prebuilt files are shipped: those that EC2's Linux instances can load. */
const platforms = ['linux-x64', 'linux-arm64', 'linuxmusl-x64', 'linuxmusl-arm64']

async function main(): Promise<void> {
  const { values: flags } = parseArgs({ options: { help: { type: 'boolean', short: 'h' } } })
  if (flags.help)
    return say(
      'Usage: pnpm build\n\nWrites dist/: agent.js, coordinator.js, better-sqlite3/, node_modules/, dashboard/',
    )
  await rm(target, { recursive: true, force: true })
  await mkdir(target, { recursive: true })
  await Promise.all([
    bundle('agent'),
    bundle('agent', VOTER_THREAD),
    bundle('agent', S3_SDK),
    bundle('coordinator'),
    bundle('coordinator', MODEL_HOST),
    bundle('coordinator', COORDINATOR_S3),
    buildDashboard(),
  ])
  await copySqlite()
  await copyRuntime()
  for (const file of ['model.onnx', 'manifest.json'])
    await cp(join(root, DEFAULT_MODEL, file), join(target, DEFAULT_MODEL, file))
  await cp(dashboardFolder, join(target, 'dashboard'), { recursive: true })
  await writeFile(join(target, 'package.json'), '{ "type": "module", "private": true }\n')
  const files = await listFiles(target)
  const sums = await Promise.all(
    files.map(async (file) => `${await sha256(file)}  ${relative(target, file)}\n`),
  )
  await writeFile(join(target, 'SHA256SUMS'), sums.join(''))
  await weigh(files)
  await assertNarrow()
}

/** Where the agent's second thread begins (agent/src/voter/voter.ts). */
const VOTER_THREAD = { source: 'voter/voter-thread.ts', file: 'agent-voter.js' }

/** Where the process of a model begins (coordinator/src/models/host/model-host.ts). */
const MODEL_HOST = { source: 'models/host/host-process.ts', file: 'coordinator-model-host.js' }

/** Loaded by the agent when it opens a store in S3. */
const S3_SDK = { source: 'snapshot/s3-sdk.ts', file: 'agent-s3.js' }

/** Loaded by the coordinator when models are kept in S3. */
const COORDINATOR_S3 = { source: 'cloud/s3/s3-sdk.ts', file: 'coordinator-s3.js' }

/**
 * Everything in one file, so that an instance needs Node and nothing else: no registry, no node_modules. `part` is
 * a file that the program loads only when it needs it, or in another thread.
 */
async function bundle(name: 'agent' | 'coordinator', part?: { source: string; file: string }): Promise<void> {
  const file = part?.file ?? `${name}.js`
  const s3 = name === 'agent' ? S3_SDK : COORDINATOR_S3
  await build({
    root: join(root, name),
    configFile: false,
    logLevel: 'warn',
    build: {
      ssr: `src/${part?.source ?? 'main.ts'}`,
      outDir: target,
      emptyOutDir: false,
      target: 'node24',
      minify: false,
      rolldownOptions: {
        external: part ? [] : [new RegExp(`/${basename(s3.source)}$`)],
        output: {
          entryFileNames: file,
          paths: (id) => (id.endsWith(`/${basename(s3.source)}`) ? `./${s3.file}` : id),
          format: 'esm',
          codeSplitting: false,
          ...(part ? {} : { banner: '#!/usr/bin/env node' }),
          // A program keeps its own text in memory, and with one character beyond Latin-1 it takes two bytes for each.
          minify: { compress: true, mangle: false, codegen: { removeWhitespace: false, asciiOnly: true } },
          comments: { legal: true, annotation: false, jsdoc: false },
        },
      },
    },
    ssr: { noExternal: true },
  })
  if (!part) await chmod(join(target, file), 0o755)
}

async function copySqlite(): Promise<void> {
  const prebuilds = join(root, 'coordinator/node_modules/better-sqlite3/prebuilds')
  await mkdir(join(target, 'better-sqlite3'))
  for (const platform of platforms)
    await copyFile(join(prebuilds, `${platform}.node`), join(target, 'better-sqlite3', `${platform}.node`))
}

/** The ONNX runtime finds its native files by its own path, so that it stays a package: for Linux only, 270 MB less. */
async function copyRuntime(): Promise<void> {
  const from = join(root, 'coordinator/node_modules/onnxruntime-node')
  const common = join(await realpath(from), '../onnxruntime-common')
  const native = 'bin/napi-v6/linux'
  for (const [source, name, parts] of [
    [from, 'onnxruntime-node', ['package.json', 'dist', native]],
    [common, 'onnxruntime-common', ['package.json', 'dist/cjs']],
  ] as const)
    for (const part of parts)
      await cp(join(source, part), join(target, 'node_modules', name, part), {
        recursive: true,
        dereference: true,
        filter: (path) => !path.endsWith('.map') && !path.endsWith('.d.ts'),
      })
}

async function weigh(files: readonly string[]): Promise<void> {
  const sizes = new Map<string, number>()
  for (const file of files) {
    const path = relative(target, file)
    const { byteLength } = await readFile(file)
    for (const name of [path, dirname(path)]) sizes.set(name, (sizes.get(name) ?? 0) + byteLength)
  }
  for (const [name, budget] of Object.entries(budgets)) {
    const size = sizes.get(name) ?? 0
    const ok = size > 0 && size <= budget
    say(`${ok ? 'ok  ' : 'FAIL'} dist/${name.padEnd(18)} ${kib(size).padStart(10)} of at most ${kib(budget)}`)
    if (!ok) process.exitCode = 1
  }
  for (const { what, bytes, budget } of await dashboardWeights(join(target, 'dashboard'))) {
    const ok = bytes > 0 && bytes <= budget
    say(`${ok ? 'ok  ' : 'FAIL'} ${what}: ${bytes} of at most ${budget} bytes, compressed`)
    if (!ok) process.exitCode = 1
  }
}

/** A comment that is kept, or a tagged template, would still bring such a character in. */
async function assertNarrow(): Promise<void> {
  for (const file of ['agent.js', VOTER_THREAD.file]) {
    const line = (await readFile(join(target, file), 'utf8'))
      .split('\n')
      .findIndex((text) => /[\u0100-\uffff]/.test(text))
    if (line === -1) continue
    say(`FAIL dist/${file}:${line + 1} has a character beyond Latin-1: its text takes twice the memory`)
    process.exitCode = 1
  }
}

async function listFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
}

const sha256 = async (file: string) =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex')
const kib = (bytes: number) => `${Math.ceil(bytes / 1024)} KiB`

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

await main()
