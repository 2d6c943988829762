import { Worker } from 'node:worker_threads'
import { AppError, type ErrorCode, errorCodes, messageOf } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import type { Random } from '@understudy/shared/core/random'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, type Mono, millis, mono } from '@understudy/shared/core/time'
import type { ElectionExtras, Lease } from '@understudy/shared/failover/voter-types'
import type { CoordinatorMessage, Degradation, Hello } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import type { Credentials, PeerIdentity } from '../identity/identity.ts'
import type {
  Command,
  GivenLease,
  Note,
  PeerAddress,
  RoleEffect,
  ThreadSetup,
  VoterState,
} from './thread-messages.ts'
import { toWire } from './wire.ts'

export type { GivenLease, PeerAddress, RoleEffect, VoterState } from './thread-messages.ts'
export { toWire } from './wire.ts'

const AGAIN: BackoffPolicy = { base: millis(100), cap: millis(5000) }
const START_LIMIT = millis(20_000)
const CLOSE_LIMIT = millis(3000)

/** What is told of it. */
export interface VoterListener {
  onEffect(effect: RoleEffect): void
  onLease(lease: Lease): void
  /** True once `target` has everything that was acknowledged to the workload. */
  onPrepare(target: InstanceId): Promise<boolean>
  /** The guard has killed the workload; so many of its processes have not ended yet. */
  onKilled(processes: number, left: number): void
  /** Its file cannot be read any more: the agent must not go on. */
  onFailed(error: AppError): void
}

/**
 * This instance's vote, and its leases when it is primary, in a thread of its own (voter-thread.ts). A thread that
 * ends is started again and then is quiet for a while, as after a restart of the agent; its lease ends with it.
 */
export interface Voter {
  /** Where the voters of replicas dial in. */
  readonly port: number
  /** The public key of its votes. */
  readonly key: string
  readonly state: VoterState
  /** By the clock of the agent, as are the ends of `leases`. */
  readonly lease: Lease
  readonly leases: readonly GivenLease[]
  readonly degraded: readonly Degradation[]
  /** From now on, and what has happened since it was opened. */
  on(listener: VoterListener): void
  /** The answer is an effect `released`. */
  release(turn: number, target: InstanceId, extras: ElectionExtras): void
  /** Durable when it resolves. */
  resign(epoch: number): Promise<void>
  /** Says whether processes of the workload may be doing something; wait for it before they do. */
  expose(exposed: boolean): Promise<void>
  /** What the coordinator has said in its greeting. */
  greeted(welcome: Greeting): void
  /** These may dial in, beside those who vote. */
  allowPeers(instances: readonly InstanceId[]): void
  dial(upstream: PeerAddress | undefined): void
  useCredential(credential: string): void
  close(): Promise<void>
}

export interface VoterOptions {
  readonly agent: AgentId
  readonly self: InstanceId
  /** Its durable file. */
  readonly path: string
  readonly url: string
  readonly credential: string
  readonly identity: PeerIdentity
  readonly host: string
  readonly port: number
  readonly workloadKey: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** What is kept of it. */
export type Greeting = Pick<
  CoordinatorMessage & { type: 'welcome' },
  'policy' | 'key' | 'coordinatorStart' | 'coordinatorStartProof'
>

const NOTHING: VoterState = {
  certificate: undefined,
  chain: [],
  keepers: [],
  voted: 0,
  resigned: 0,
  coordinatorStart: 0,
  coordinatorStartProof: '',
  standing: 'quiet',
  coordinator: false,
  peers: [],
  degraded: [],
}

/** @throws AppError `state_unreadable`, `port_in_use` */
export async function openVoter(options: VoterOptions): Promise<Voter> {
  const { clock, random, log, identity } = options
  let worker: Worker | undefined
  let listener: VoterListener | undefined
  const early: ((listener: VoterListener) => void)[] = []
  let state = NOTHING
  let lease: Lease = { kind: 'none' }
  let leases: readonly GivenLease[] = []
  let ready: { readonly port: number; readonly key: string } | undefined
  let trouble: string | undefined
  let attempt = 0
  let calls = 0
  let closing = false
  let cancelStart: () => void = () => undefined
  /** What has not been answered, to be said again to the next thread. */
  const waiting = new Map<number, { readonly command: Command; readonly resolve: () => void }>()
  /** What holds until it is said anew: the next thread is told it first. */
  const standing = new Map<Command['kind'], Command>()
  /** The turn of a release that has not been answered. */
  let releasing: number | undefined

  /** Never later than the lease really ends: the clock of the agent is read first. */
  function toOwnClock(end: Mono): Mono {
    const own = clock.mono()
    return mono(own + (end - Number(process.hrtime.bigint()) / 1e6))
  }

  function notify(tell: (listener: VoterListener) => void): void {
    if (listener) tell(listener)
    else early.push(tell)
  }

  function onLease(next: Lease, given: readonly GivenLease[]): void {
    lease = next.kind === 'until' ? { kind: 'until', at: toOwnClock(next.at) } : next
    leases = given.map(({ voter, end }) => ({ voter, end: toOwnClock(end) }))
    // What is true of a lease is true now.
    notify((told) => told.onLease(lease))
  }

  function onNote(note: Note): void {
    switch (note.kind) {
      case 'ready':
        ready = { port: note.port, key: note.key }
        trouble = undefined
        return
      case 'failed':
        return
      case 'state':
        state = note.state
        return
      case 'lease':
        return onLease(note.lease, note.leases)
      case 'effect':
        if (note.effect.kind === 'released') releasing = undefined
        return notify((told) => told.onEffect(note.effect))
      case 'done':
        waiting.get(note.call)?.resolve()
        waiting.delete(note.call)
        return
      case 'prepare':
        return notify((told) => {
          const answer = (ok: boolean) => say({ kind: 'prepared', call: note.call, ok })
          told.onPrepare(note.target).then(answer, () => answer(false))
        })
      case 'killed':
        return notify((told) => told.onKilled(note.processes, note.left))
      case 'log':
        return log[note.level](note.line)
    }
  }

  /**
   * Resolves once the thread is at work; rejects when it cannot be, and only once it has ended: its file and its port
   * are free then. From when it is at work, its end is the business of `onEnded`.
   */
  function start(): Promise<void> {
    const setup: ThreadSetup = {
      agent: options.agent,
      self: options.self,
      path: options.path,
      url: options.url,
      credential: options.credential,
      tls: identity.current,
      host: options.host,
      // The same again: others know it.
      port: ready?.port ?? options.port,
      workloadKey: options.workloadKey,
    }
    return new Promise<void>((resolve, reject) => {
      let began = false
      let failure: AppError | undefined
      const started = new Worker(threadFile(), {
        workerData: setup,
        resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 1 },
      })
      worker = started
      const fail = (error: AppError) => {
        failure ??= error
        trouble = failure.message
        void started.terminate()
      }
      const late = clock.timer(START_LIMIT, () =>
        fail(new AppError('internal', 'the thread of the voter does not begin')),
      )
      started.on('message', (note: Note) => {
        // Too late: it is being ended.
        if (failure && note.kind === 'ready') return
        if (note.kind === 'failed')
          return fail(new AppError(codeOf(note.code), note.message, { hint: note.hint }))
        onNote(note)
        if (note.kind !== 'ready') return
        began = true
        late()
        resolve()
      })
      started.on('error', (error) => {
        trouble = error.message
        log.error({ event: 'voter.thread_failed', why: error.message })
      })
      started.on('exit', () => {
        late()
        if (worker === started) worker = undefined
        if (began) return onEnded()
        const why = `the thread of the voter has ended: ${trouble ?? 'without a word'}`
        reject(failure ?? new AppError('internal', why))
      })
      for (const command of standing.values()) started.postMessage(command)
      for (const { command } of waiting.values()) started.postMessage(command)
    })
  }

  function onEnded(): void {
    if (closing || !ready) return
    trouble ??= 'it ended without a word'
    state = { ...state, standing: 'quiet', coordinator: false, peers: [] }
    onLease({ kind: 'none' }, [])
    // It may have voted all the same; without a lease that makes no difference to what may run here.
    if (releasing !== undefined) notReleased(releasing)
    log.error({ event: 'voter.thread_ended', why: trouble, attempt })
    const wait = attempt === 0 ? millis(0) : fullJitter(AGAIN, attempt - 1, random)
    attempt += 1
    cancelStart()
    cancelStart = clock.timer(wait, () => void startAgain())
  }

  function notReleased(turn: number): void {
    releasing = undefined
    const why = 'the thread of the voter has ended'
    notify((told) => told.onEffect({ kind: 'released', turn, ok: false, why, vote: undefined }))
  }

  async function startAgain(): Promise<void> {
    try {
      await start()
    } catch (error) {
      if (error instanceof AppError && error.code === 'state_unreadable')
        return notify((told) => told.onFailed(error))
      trouble = messageOf(error)
      onEnded()
    }
  }

  const say = (command: Command) => worker?.postMessage(command)
  const keep = (command: Command) => {
    standing.set(command.kind, command)
    say(command)
  }
  const call = (make: (id: number) => Command): Promise<void> =>
    new Promise((resolve) => {
      calls += 1
      const command = make(calls)
      waiting.set(calls, { command, resolve })
      say(command)
    })

  await start()
  const endRenewals = identity.onRenewal((credentials: Credentials) => keep({ kind: 'tls', credentials }))

  return {
    get port() {
      return ready?.port ?? options.port
    },
    get key() {
      return ready?.key ?? ''
    },
    get state() {
      return state
    },
    get lease() {
      return lease
    },
    get leases() {
      return leases
    },
    get degraded() {
      if (worker && trouble === undefined) return state.degraded
      const message = `the thread of the voter has ended and is started again: ${trouble ?? ''}`.slice(0, 500)
      return [...state.degraded, { code: 'voter_restarting', message }]
    },
    on(next) {
      listener = next
      for (const tell of early.splice(0)) tell(next)
    },
    release(turn, target, extras) {
      // Nobody would answer: the next thread is not told of it.
      if (!worker) return notReleased(turn)
      releasing = turn
      say({ kind: 'release', turn, target, extras })
    },
    resign: (epoch) => call((id) => ({ kind: 'resign', epoch, call: id })),
    expose(exposed) {
      standing.set('expose', { kind: 'expose', exposed, call: 0 })
      return call((id) => ({ kind: 'expose', exposed, call: id }))
    },
    greeted: ({ policy, coordinatorStart, coordinatorStartProof, key }) =>
      keep({ kind: 'greeted', policy, coordinatorStart, coordinatorStartProof, coordinatorKey: key }),
    allowPeers: (peers) => keep({ kind: 'allow', peers }),
    dial: (upstream) => keep({ kind: 'dial', upstream }),
    useCredential: (credential) => keep({ kind: 'credential', credential }),
    async close() {
      closing = true
      cancelStart()
      endRenewals()
      const current = worker
      if (!current) return
      const ended = new Promise<void>((resolve) => current.once('exit', () => resolve()))
      say({ kind: 'close' })
      const late = clock.timer(CLOSE_LIMIT, () => void current.terminate())
      await ended
      late()
    },
  }
}

/**
 * What the agent says of its votes when it greets the coordinator. That it has resigned is only said once nothing of
 * the workload can be doing anything: the coordinator may elect somebody else on that word.
 */
export const voterHello = ({ key, state }: Voter, exposed: boolean): Hello['voter'] => ({
  key,
  chain: state.chain.map(toWire),
  voted: state.voted,
  resigned: exposed ? 0 : state.resigned,
  coordinatorStart: state.coordinatorStart,
  coordinatorStartProof: state.coordinatorStartProof,
})

/** The voter as a part of the agent, which ends when the voter cannot go on. */
export const voterService = (voter: Voter, listener: Omit<VoterListener, 'onFailed'>): Service => ({
  name: 'voter',
  run: (signal) =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return resolve()
      signal.addEventListener('abort', () => resolve(), { once: true })
      voter.on({ ...listener, onFailed: reject })
    }),
})

/** A file of its own in a build, beside the agent's. */
const threadFile = (): URL =>
  new URL(import.meta.url.endsWith('.ts') ? './voter-thread.ts' : './agent-voter.js', import.meta.url)

const codeOf = (code: string): ErrorCode => (code in errorCodes ? (code as ErrorCode) : 'internal')
