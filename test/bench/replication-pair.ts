import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { createTestAuthority, saveCredentials } from '../../agent/src/identity/testing.ts'
import { AGENT_MALLOC, AGENT_NODE_FLAGS } from '../../coordinator/src/demo/agent-runtime.ts'
import { type Memory, watchMemory } from './measure.ts'
import type { EndCommands, EndReply, EndRequest } from './replication-end.ts'
import { members } from './replication-members.ts'

/** A primary and a replica in processes of their own, started as systemd starts the agent. */

export interface Pair {
  readonly primary: End
  readonly replica: End
  /** Where the state of each lies. */
  readonly from: string
  readonly to: string
  /** Resolves, with the time, when the replica is whole. */
  follow(): Promise<number>
  cpuSeconds(): Promise<number>
  close(): Promise<{ primary: Memory; replica: Memory }>
}

type End = { readonly [K in keyof EndCommands]: EndCommands[K] } & {
  readonly memory: ReturnType<typeof watchMemory>
  readonly child: ChildProcess
}

/** One file each, as the agent is shipped, without the source's own loading in its memory. @returns its path */
export async function bundleEnd(directory: string): Promise<string> {
  await build({
    root: fileURLToPath(new URL('.', import.meta.url)),
    configFile: false,
    logLevel: 'warn',
    build: {
      ssr: 'replication-end.ts',
      outDir: directory,
      emptyOutDir: false,
      target: 'node24',
      minify: false,
      rolldownOptions: { output: { entryFileNames: 'end.mjs', format: 'esm', codeSplitting: false } },
    },
    ssr: { noExternal: true },
  })
  return join(directory, 'end.mjs')
}

export async function openPair(parts: {
  readonly program: string
  readonly primary: string
  readonly replica: string
  /** Where to write CPU profiles, if anywhere. */
  readonly profiles?: string | undefined
}): Promise<Pair> {
  const token = randomBytes(20).toString('hex')
  const authority = await createTestAuthority()
  for (const role of ['primary', 'replica'] as const) {
    await mkdir(parts[role], { recursive: true })
    await saveCredentials(join(parts[role], 'identity.json'), await authority.issue(members[role]))
  }
  const primary = startEnd(parts.program, 'primary', parts.profiles)
  const replica = startEnd(parts.program, 'replica', parts.profiles)
  const { port } = await primary.open({ role: 'primary', directory: parts.primary, token })
  await replica.open({ role: 'replica', directory: parts.replica, token })
  return {
    primary,
    replica,
    from: join(parts.primary, 'state'),
    to: join(parts.replica, 'state'),
    follow: async () => (await replica.follow({ port, token })).whole,
    cpuSeconds: async () => (await primary.cpu()).seconds + (await replica.cpu()).seconds,
    async close() {
      const memory = { primary: primary.memory.stop(), replica: replica.memory.stop() }
      for (const end of [replica, primary]) {
        const gone = once(end.child, 'exit')
        await end.close()
        await gone
      }
      return memory
    },
  }
}

function startEnd(program: string, role: string, profiles: string | undefined): End {
  const profiling = profiles
    ? ['--cpu-prof', `--cpu-prof-dir=${profiles}`, `--cpu-prof-name=${role}-${Date.now()}.cpuprofile`]
    : []
  const child = fork(program, [], {
    execArgv: [...AGENT_NODE_FLAGS, ...profiling],
    env: { ...process.env, ...AGENT_MALLOC },
  })
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  let last = 0
  child.on('message', (reply: EndReply) => {
    const asked = waiting.get(reply.id)
    waiting.delete(reply.id)
    if ('error' in reply) asked?.reject(new Error(`the ${role}: ${reply.error}`))
    else asked?.resolve(reply.value as never)
  })
  child.on('exit', (code, signal) => {
    for (const { reject } of waiting.values()) reject(new Error(`the ${role} has ended (${signal ?? code})`))
  })
  const ask =
    <K extends keyof EndCommands>(name: K) =>
    (given?: unknown) =>
      new Promise<never>((resolve, reject) => {
        last += 1
        waiting.set(last, { resolve, reject })
        child.send({ id: last, do: name, with: given } as EndRequest)
      })
  return {
    open: ask('open'),
    follow: ask('follow'),
    finish: ask('finish'),
    seal: ask('seal'),
    durable: ask('durable'),
    watchLag: ask('watchLag'),
    lags: ask('lags'),
    cpu: ask('cpu'),
    close: ask('close'),
    memory: watchMemory([child.pid as number]),
    child,
  }
}
