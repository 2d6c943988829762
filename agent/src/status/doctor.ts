import { accessSync, constants, statfsSync } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'
import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import { systemClock } from '@understudy/shared/core/time'
import { type LoadedConfig, loadConfig } from '../config/load.ts'
import type { AgentConfig } from '../config/options.ts'
import { createImdsClient } from '../imds/imds-client.ts'
import { parseIdentity } from '../imds/imds-documents.ts'
import { probe } from '../link/http.ts'
import { checkStateDirectories } from '../replication/replication.ts'

interface Check {
  readonly name: string
  readonly ok: boolean
  readonly result: string
  /** What to do; only where it is not ok. */
  readonly fix?: string
}

interface DoctorOptions {
  readonly file: string
  readonly flags: Readonly<Record<string, unknown>>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly json: boolean
  readonly print: (text: string) => unknown
}

/** Runs every check that an installation can fail, also when an earlier one did. Exit code 0 or 1. */
export async function doctor({ file, flags, env, json, print }: DoctorOptions): Promise<number> {
  let loaded: LoadedConfig | undefined
  const checks: Check[] = [
    await check('configuration', () => {
      loaded = loadConfig(file, flags, env)
      return `${file} is complete`
    }),
  ]
  if (loaded) checks.push(...(await checkAll(loaded.config)))
  if (json) print(`${JSON.stringify({ schema: 'understudy.agent-doctor/v1', ok: allOk(checks), checks })}\n`)
  else print(checks.map(toLine).join(''))
  return allOk(checks) ? 0 : 1
}

const allOk = (checks: readonly Check[]): boolean => checks.every(({ ok }) => ok)

const toLine = ({ name, ok, result, fix }: Check): string =>
  `${ok ? 'ok  ' : 'FAIL'}  ${name.padEnd(18)} ${result}\n${fix ? `      ${' '.repeat(18)} Try: ${fix}\n` : ''}`

async function check(name: string, run: () => Promise<string> | string): Promise<Check> {
  try {
    return { name, ok: true, result: await run() }
  } catch (error) {
    const fix = isAppError(error) ? error.hint : undefined
    return { name, ok: false, result: messageOf(error), ...(fix === undefined ? {} : { fix }) }
  }
}

async function checkAll(config: AgentConfig): Promise<Check[]> {
  const imds = createImdsClient(config.imds_endpoint, systemClock, Math.random)
  return [
    await check('node', () => `${process.version} on ${process.platform}/${process.arch}`),
    await check('metadata service', async () => {
      const document = await imds.get('dynamic/instance-identity/document')
      const identity = document === undefined ? undefined : parseIdentity(document)
      if (!identity) throw new Error('it answers, but has no instance identity document')
      return `${identity.instanceId}, ${identity.instanceType} in ${identity.availabilityZone}`
    }),
    await check('spot', async () => {
      const life = (await imds.get('meta-data/instance-life-cycle'))?.trim() ?? 'unknown'
      return life === 'spot' ? 'a Spot Instance' : `not a Spot Instance (${life}): no notices will come`
    }),
    await check('coordinator', async () => {
      const { status, millis } = await probe(`${config.coordinator_url.replace(/\/+$/, '')}/livez`)
      if (status !== 200) throw new Error(`${config.coordinator_url} answers ${status} for /livez`)
      return `${config.coordinator_url} answers in ${Math.round(millis)} ms`
    }),
    await check('state directories', () => {
      checkStateDirectories(config.workload.state)
      return config.workload.state.join(', ')
    }),
    await check('disk', () => diskOf(config)),
    ...Object.entries(config.workload.hooks).flatMap(([name, hook]) =>
      hook && 'command' in hook ? [checkProgram(`${name} hook`, hook.command[0] ?? '', config)] : [],
    ),
  ]
}

function diskOf(config: AgentConfig): string {
  return config.workload.state
    .map((directory) => {
      const { bavail, bsize } = statfsSync(directory)
      return `${Math.round((bavail * bsize) / 1e6)} MB free in ${directory}`
    })
    .join(', ')
}

function checkProgram(name: string, program: string, config: AgentConfig): Check {
  const places = program.includes('/')
    ? [isAbsolute(program) ? program : join(config.workload.directory ?? '.', program)]
    : (process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, program))
  const found = places.find(isExecutable)
  return found
    ? { name, ok: true, result: found }
    : {
        name,
        ok: false,
        result: `${program} is not an executable program`,
        fix: 'Correct its path in workload.hooks, or make it executable (chmod +x).',
      }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
