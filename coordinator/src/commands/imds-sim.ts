import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { instant, systemClock } from '@understudy/shared/core/time'
import { parsePool } from '@understudy/shared/market/pool'
import { parse } from 'yaml'
import { createIdentitySigner, type IdentitySigner, newPrivateKey } from '../cloud/simulated/identity.ts'
import { type ImdsScript, parseImdsScript, playScript } from '../cloud/simulated/imds-script.ts'
import { type ImdsSimulator, startImdsSimulator } from '../cloud/simulated/imds-simulator.ts'
import { instanceItems } from '../cloud/simulated/instance-items.ts'
import { type Invocation, numberFlag } from '../command-line.ts'

const DEFAULT_PORT = 1338

/** A metadata service on a port of its own, with a timeline of what happens to the instance and to the service. */
export async function imdsSim({ own }: Invocation): Promise<number> {
  const script = readScript(own.script)
  const pool = parsePool(`${text(own['instance-type'], 'm5.large')}@${text(own.zone, 'us-east-1a')}`)
  const instanceId = text(own['instance-id'], 'i-0123456789abcdef0')
  const signer = signerOf(own['identity-key'])
  const launchedAt = instant(Date.now())
  const port = numberFlag(own.port, 'port', 0, 65_535) ?? DEFAULT_PORT
  const identity = signer.sign({ instanceId, pool, privateIp: '127.0.0.1', launchedAt })
  const simulator = await startImdsSimulator({
    clock: systemClock,
    port,
    items: instanceItems({ instanceId, pool, privateIp: '127.0.0.1', ...identity }),
  }).catch((error: unknown) => {
    if (systemCodeOf(error) !== 'EADDRINUSE') throw error
    throw new AppError('port_in_use', `the port ${port} is in use`, {
      hint: 'Choose another one with --port.',
    })
  })
  tell(`metadata service of ${instanceId} on ${simulator.endpoint} (IMDS_ENDPOINT=${simulator.endpoint})`)
  tell(`identity documents are signed with this key:\n${signer.publicKey}`)
  await untilStopped(simulator, script)
  return 0
}

async function untilStopped(simulator: ImdsSimulator, script: ImdsScript): Promise<void> {
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())
  await playScript(script, simulator, systemClock, (what) => tell(what), stop.signal)
  if (!stop.signal.aborted)
    await new Promise((resolve) => stop.signal.addEventListener('abort', resolve, { once: true }))
  await simulator.close()
}

function readScript(path: string | boolean | undefined): ImdsScript {
  if (typeof path !== 'string') return parseImdsScript({ timeline: [] })
  try {
    return parseImdsScript(parse(readFileSync(path, 'utf8')))
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    throw new AppError('input_invalid', `the script ${path} cannot be read (${messageOf(cause)})`, { cause })
  }
}

/** One key for all simulators that are given the same file. */
function signerOf(path: string | boolean | undefined): IdentitySigner {
  if (typeof path !== 'string') return createIdentitySigner()
  try {
    if (!existsSync(path)) writeFileSync(path, newPrivateKey(), { mode: 0o600 })
    return createIdentitySigner(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new AppError('input_invalid', `${path} is no private key in PEM (${messageOf(cause)})`, {
      hint: 'Name a file that does not exist yet: it is made.',
      cause,
    })
  }
}

const text = (value: string | boolean | undefined, fallback: string): string =>
  typeof value === 'string' ? value : fallback

const tell = (line: string) => void process.stderr.write(`${line}\n`)
