import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { millis, seconds, systemClock } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { openIdentity } from '../../agent/src/identity/identity.ts'
import { openReplication, type Replication } from '../../agent/src/replication/replication.ts'
import { members } from './replication-members.ts'

/**
 * One end of a replication, in a process of its own, told what to do by the benchmark over Node's channel between
 * parent and child. Times are CLOCK_MONOTONIC in milliseconds, which all processes of a machine share.
 */

const PRIMARY = members.primary.instance
const REPLICA = members.replica.instance
const EPOCH = 1

export interface EndCommands {
  /** Its certificate is in `identity.json` of the directory. */
  open(end: { role: 'primary' | 'replica'; directory: string; token: string }): Promise<{ port: number }>
  /** Resolves when the replica has everything, durably. */
  follow(primary: { port: number; token: string }): Promise<{ whole: number }>
  /** Puts everything in place. */
  finish(): Promise<{ done: number }>
  seal(): Promise<{ done: number }>
  /** Resolves when everything that was written before that moment is durable on the replica. */
  durable(since: { written: number }): Promise<{ done: number }>
  /** Looks at the lag every 10 ms, until `lags` asks for what was seen. */
  watchLag(): Promise<null>
  lags(): Promise<readonly number[]>
  cpu(): Promise<{ seconds: number }>
  close(): Promise<null>
}
export type EndRequest = { [K in keyof EndCommands]: { id: number; do: K; with: unknown } }[keyof EndCommands]
export type EndReply = { id: number } & ({ value: unknown } | { error: string })

const now = () => Number(process.hrtime.bigint()) / 1e6
let replication: Replication | undefined
let onWhole: () => void = () => undefined
let watch: { timer: NodeJS.Timeout; behind: number[] } | undefined

const opened = (): Replication => {
  if (replication) return replication
  throw new Error('this end is not open')
}

const commands: EndCommands = {
  async open({ role, directory, token }) {
    const state = join(directory, 'state')
    mkdirSync(state, { recursive: true })
    const log = pino({ level: process.env.BENCH_LOG ?? 'warn' }, pino.destination(2))
    const identity = openIdentity({
      path: join(directory, 'identity.json'),
      self: members[role],
      send: () => false,
      clock: systemClock,
      random: Math.random,
      log,
    })
    replication = await openReplication({
      self: members[role].instance,
      identity,
      stateDirectories: [state],
      dataDirectory: join(directory, 'data'),
      host: '127.0.0.1',
      port: 0,
      clock: systemClock,
      random: Math.random,
      log,
      onCopy: () => onWhole(),
    })
    if (role === 'primary') {
      await replication.serve(EPOCH)
      replication.allow(EPOCH, [{ instanceId: REPLICA, token }])
    }
    return { port: replication.port }
  },
  async follow({ port, token }) {
    const end = opened()
    const whole = new Promise<number>((resolve) => {
      onWhole = () => end.whole && resolve(now())
    })
    end.follow(EPOCH, { instanceId: PRIMARY, host: '127.0.0.1', port, token })
    return { whole: await whole }
  },
  async finish() {
    await opened().stopFollowing()
    await opened().finish(false)
    return { done: now() }
  },
  async seal() {
    await opened().seal(REPLICA, seconds(60), false)
    return { done: now() }
  },
  async durable({ written }) {
    for (;;) {
      const safe = opened().lags()[0]?.lag.safeMillis ?? Number.POSITIVE_INFINITY
      const at = now()
      if (at - safe >= written) return { done: at }
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  },
  async watchLag() {
    const behind: number[] = []
    const look = () => {
      const lag = opened().lags()[0]?.lag
      if (lag) behind.push(lag.millis)
    }
    watch = { timer: setInterval(look, millis(10)), behind }
    return null
  },
  async lags() {
    if (!watch) throw new Error('nobody watches the lag')
    clearInterval(watch.timer)
    return watch.behind
  },
  async cpu() {
    const { user, system } = process.cpuUsage()
    return { seconds: (user + system) / 1e6 }
  },
  async close() {
    await replication?.close()
    return null
  },
}

async function answer({ id, do: name, with: given }: EndRequest): Promise<void> {
  let reply: EndReply
  try {
    reply = { id, value: await commands[name](given as never) }
  } catch (error) {
    reply = { id, error: error instanceof Error ? error.message : String(error) }
  }
  // Without its parent there is nobody to answer.
  if (process.connected) process.send?.(reply)
  if (name === 'close') process.disconnect()
}

process.on('message', (request: EndRequest) => void answer(request))
process.on('disconnect', () => void replication?.close())
