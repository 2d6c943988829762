import { AppError } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import { type Clock, type Millis, millis, plus } from '@understudy/shared/core/time'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import type { Logger } from 'pino'
import type { WebSocket } from 'ws'
import type { PeerIdentity } from '../identity/identity.ts'
import { createBufferPool } from './buffer-pool.ts'
import { untilKept } from './keepers.ts'
import { createListener } from './listener.ts'
import { createPace } from './pace.ts'
import { createScanner, type Scanner } from './scanner.ts'
import { asBudgetError, assertReadable, inTime, sendTheRest } from './sealing.ts'
import { createSenderSession } from './sender-session.ts'
import type { Join, SenderSession, SessionLag } from './session-types.ts'
import type { StateRoots } from './state-files.ts'
import type { VerificationPace } from './verification.ts'
import type { Xattrs } from './xattrs.ts'

/** While the workload stands still it has this long to come back: longer than a line that was dropped takes. */
const AWAY = millis(800)
/** A replica that has lost its connection may go on where it was within this time. */
const PARKED = millis(60_000)
/** An epoch that was sealed is given up at once; if it is not, everything goes on after this. */
const AFTER_SEAL = millis(10_000)
/** One replica has no more under way than this, however much memory there is: 80 MB/s at 50 ms there and back. */
const WINDOW_BYTES = 4 * 1024 * 1024
const WINDOW_BYTES_MIN = 1024 * 1024

/** How the last of the state went over. */
export interface Sealed {
  readonly seq: number
  /** Names that could not be read. */
  readonly unreadable: number
  /** Bytes of content that the replica does not have, because there was no time for them. */
  readonly leftBytes: number
  /** What was decided about the time left, in a sentence. */
  readonly why: string
}

/** What may be sent, and how fast. */
export interface SenderLimits {
  /** Content that is under way to all replicas together and not taken yet, in bytes. */
  readonly memoryBytes: number
  /** Bytes of content per second for all replicas together; 0 is no limit. */
  readonly bytesPerSecond: number
  /** Changes go over only as captured by a cut. */
  readonly cutsOnly: boolean
  readonly verify: VerificationPace
}

/** The primary's end: listens for replicas and sends them the state while this instance serves an epoch. */
export interface Sender {
  /** @throws AppError `port_in_use` */
  listen(host: string, port: number): Promise<{ port: number }>
  serve(epoch: number): void
  /** Who may receive; replicas that are not in the list are cut off. */
  allow(epoch: number, replicas: readonly { instanceId: InstanceId; token: string }[]): void
  stopServing(): void
  /** Resolves once the replica is close behind. Throws AppError when it is not within the budget. */
  drain(target: InstanceId, budget: Millis): Promise<void>
  /**
   * Resolves once the replica holds exactly this state. The workload must be frozen. With `tolerant`, names that
   * cannot be read are left out, and so is what does not fit into the budget.
   */
  seal(target: InstanceId, budget: Millis, tolerant: boolean): Promise<Sealed>
  /** Waits until every replica that is attached has what is here now, or the budget is spent. */
  flush(budget: Millis): Promise<void>
  /**
   * Resolves with those that have all that was written before the call; where that is tolerated, but for what cannot be read.
   * Throws AppError when nobody has or can.
   */
  commit(
    budget: Millis,
    keepers: () => readonly InstanceId[],
    tolerant: boolean,
  ): Promise<readonly InstanceId[]>
  /**
   * Captures the state while `hold` keeps the workload still, and sends it as one group.
   * @throws AppError `not_ready` or `conflict` when a replica could not get it; what `hold` throws
   */
  cut(hold: (capture: () => Promise<void>) => Promise<void>): Promise<void>
  lags(): readonly { instance: InstanceId; lag: SessionLag }[]
  /** Names that could not be read, with the reason; empty while not serving. */
  unreadable(): ReadonlyMap<string, string>
  close(): Promise<void>
}

export interface SenderParts {
  readonly roots: StateRoots
  readonly identity: PeerIdentity
  readonly xattrs: Xattrs
  readonly limits: SenderLimits
  readonly clock: Clock
  readonly log: Logger
}

export function createSender({ roots, identity, xattrs, limits, clock, log }: SenderParts): Sender {
  const sessions = new Map<InstanceId, SenderSession>()
  const sockets = new Map<InstanceId, WebSocket>()
  const parked = new Map<InstanceId, () => void>()
  const pace = createPace(limits.bytesPerSecond, clock)
  const pool = createBufferPool()
  let allowedEpoch = -1
  let serving: { epoch: number; scanner: Scanner } | undefined
  /** The replica that is to take over: nobody else is sent anything, and the bandwidth limit does not hold for it. */
  let heir: InstanceId | undefined
  let cancelRelease: (() => void) | undefined
  /** The workload stands still for this replica, for a move that could also be made later. */
  let sealing: InstanceId | undefined

  const listener = createListener({
    identity,
    clock,
    log,
    isOpen: () => serving !== undefined && allowedEpoch === serving.epoch,
    onJoin: join,
    onLeave,
  })

  function drop(session: SenderSession, why: string): void {
    session.close(why)
    parked.get(session.instance)?.()
    parked.delete(session.instance)
    if (sessions.get(session.instance) !== session) return
    sessions.delete(session.instance)
    sockets.delete(session.instance)
    if (sessions.size === 0) serving?.scanner.stop()
  }

  /** The session waits for its replica to come back; what changes meanwhile is noted as ever. */
  function onLeave(session: SenderSession, socket: WebSocket): void {
    if (sockets.get(session.instance) !== socket) return
    if (session.ended) return drop(session, 'it has ended')
    session.detach()
    parked.get(session.instance)?.()
    parked.set(
      session.instance,
      clock.timer(sealing === session.instance ? AWAY : PARKED, () =>
        drop(session, 'the replica has disconnected'),
      ),
    )
  }

  function join(socket: WebSocket, instance: InstanceId, message: Join): SenderSession | undefined {
    const refused = (code: string, text: string) => {
      socket.send(JSON.stringify({ type: 'refused', code, message: text }))
      socket.close(1008, code)
      return undefined
    }
    if (!serving) return refused('unavailable', 'this instance is not primary')
    const { epoch, scanner } = serving
    if (message.protocol !== PROTOCOL_VERSION)
      return refused('protocol', `this primary speaks protocol ${PROTOCOL_VERSION}, not ${message.protocol}`)
    if (message.epoch !== epoch)
      return refused('stale_epoch', `this primary serves epoch ${epoch}, not ${message.epoch}`)
    if (message.roots !== roots.directories.length)
      return refused(
        'conflict',
        `the primary replicates ${roots.directories.length} directories, the replica is set up for ${message.roots}`,
      )
    sockets.get(instance)?.close(1008, 'the replica has connected again')
    const before = sessions.get(instance)
    const session = before?.canResume(message) ? before : newSession(instance, epoch, scanner, message)
    parked.get(instance)?.()
    parked.delete(instance)
    sockets.set(instance, socket)
    scanner.start()
    log.info({ event: 'replication.replica_joined', instance, epoch, resumed: session === before })
    if (session === before) session.attach(socket, message)
    // The manifest is compared with a tree that has been read at least once.
    else void scanner.full().then(() => session.attach(socket, message))
    return session
  }

  function newSession(instance: InstanceId, epoch: number, scanner: Scanner, message: Join): SenderSession {
    sessions.get(instance)?.close('the replica begins anew')
    const session = createSenderSession(
      {
        instance,
        epoch,
        scanner,
        roots,
        clock,
        log,
        pace,
        pool,
        window: () =>
          Math.max(WINDOW_BYTES_MIN, Math.min(WINDOW_BYTES, limits.memoryBytes / Math.max(1, sessions.size))),
        isHeld: () => heir !== undefined && heir !== instance,
        isUrgent: () => heir === instance,
        cutsOnly: limits.cutsOnly,
        verify: limits.verify,
      },
      message,
    )
    sessions.set(instance, session)
    return session
  }

  /** False as soon as the connection is being closed, which its session learns a moment later. */
  const isOpen = (target: InstanceId): boolean => sockets.get(target)?.readyState === 1
  const sessionOf = (target: InstanceId): SenderSession => {
    const session = sessions.get(target)
    if (session && isOpen(target)) return session
    throw new AppError('unavailable', `${target} is not connected to this primary`, {
      hint: 'Its agent shows why under "degraded"; a security group that blocks the replication port is the usual reason.',
      retryable: true,
    })
  }

  const scannerNow = (): Scanner => {
    if (serving) return serving.scanner
    throw new AppError('conflict', 'this instance is not primary')
  }

  /** Everything that is left goes to one replica, before all others; `run` ends with the time. */
  async function within<T>(
    heirNow: InstanceId,
    budget: Millis,
    what: string,
    run: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const signal = AbortSignal.timeout(Math.ceil(budget))
    cancelRelease?.()
    heir = heirNow
    // It may have waited for one that did not take over.
    sessions.get(heirNow)?.wake()
    try {
      return await run(signal)
    } catch (error) {
      release(heirNow)
      throw asBudgetError(error, signal, what, budget)
    }
  }

  /** The hand-over to this one is over, well or not: everybody is sent everything again. */
  function release(former: InstanceId): void {
    if (heir !== former) return
    heir = undefined
    for (const session of sessions.values()) session.release()
  }

  /** Nothing is begun while the last look is taken: what goes first is decided after it. */
  async function lastLook(
    scanner: Scanner,
    target: InstanceId,
    tolerant: boolean,
    signal: AbortSignal,
  ): Promise<() => void> {
    const goOn = tolerant ? sessions.get(target)?.withhold() : undefined
    try {
      await inTime(scanner.exact(), signal)
    } catch (error) {
      goOn?.()
      throw error
    }
    return () => goOn?.()
  }

  return {
    listen: listener.listen,
    serve(epoch) {
      this.stopServing()
      const scanner = createScanner({
        roots,
        clock,
        xattrs,
        lazy: true,
        onLook: (changed, completeSince) => {
          for (const session of sessions.values()) session.looked(changed, completeSince)
        },
      })
      serving = { epoch, scanner }
    },
    allow(epoch, replicas) {
      allowedEpoch = epoch
      listener.allow(replicas)
      for (const session of [...sessions.values()])
        if (!listener.isAllowed(session.instance)) drop(session, 'it is not a replica of this agent any more')
    },
    stopServing() {
      serving?.scanner.stop()
      serving = undefined
      heir = undefined
      cancelRelease?.()
      for (const session of [...sessions.values()]) drop(session, 'this instance is not primary any more')
    },
    drain: (target, budget) =>
      within(target, budget, `${target} did not catch up`, async (signal) => {
        await inTime(scannerNow().almostExact(), signal)
        await sessionOf(target).near(signal)
        release(target)
      }),
    seal: (target, budget, tolerant) =>
      within(target, budget, `${target} did not confirm the last of the state`, async (signal) => {
        const scanner = scannerNow()
        const deadline = plus(clock.mono(), budget)
        sealing = tolerant ? undefined : target
        const goOn = await lastLook(scanner, target, tolerant, signal)
        try {
          const { unreadable } = scanner
          if (!tolerant) assertReadable(unreadable)
          const session = sessionOf(target)
          const { leftBytes, why } = await sendTheRest({
            session,
            deadline,
            signal,
            tolerant,
            roots,
            clock,
            log,
          })
          if (!tolerant) assertReadable(unreadable)
          if (leftBytes === 0) await session.barrier([...unreadable.keys()], signal, tolerant)
          // It gets nothing more: a part of what was left out would only make a mixture of what it has.
          cancelRelease = clock.timer(AFTER_SEAL, () => release(target))
          return { seq: session.seq, unreadable: unreadable.size, leftBytes, why }
        } catch (error) {
          goOn()
          throw error
        } finally {
          sealing = undefined
        }
      }),
    async flush(budget) {
      const signal = AbortSignal.timeout(Math.ceil(budget))
      await serving?.scanner.exact()
      const attached = [...sessions.values()].filter(({ lag }) => lag.attached)
      // A replica that does not catch up has said so itself; nobody waits for it any longer.
      await Promise.allSettled(
        attached.map((session) => {
          session.sendAll()
          return session.settled(signal)
        }),
      )
    },
    async commit(budget, keepers, tolerant) {
      const scanner = scannerNow()
      const moment = clock.mono()
      const signal = AbortSignal.timeout(Math.ceil(budget))
      const attached = [...sessions.values()].filter(({ lag }) => lag.attached)
      if (attached.length === 0)
        throw new AppError('not_ready', 'no replica is attached that could keep this', {
          hint: '`understudy-agent status` shows the replicas and how far they are.',
          retryable: true,
        })
      // What takes longer than there is time for is answered as late below.
      await inTime(scanner.patient(), signal).catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
      const check = () => {
        if (!tolerant) assertReadable(scanner.unreadable)
      }
      check()
      // Something may become unreadable while it is sent, too.
      return untilKept(attached, { moment, budget, signal, keepers, check })
    },
    async cut(hold) {
      const scanner = scannerNow()
      if (![...sessions.values()].some((session) => session.canCapture()))
        throw new AppError('not_ready', 'every replica still gets what came before', { retryable: true })
      const send: (() => void)[] = []
      const problems: unknown[] = []
      try {
        await hold(async () => {
          await scanner.exact()
          const share = limits.memoryBytes / Math.max(1, sessions.size)
          for (const session of sessions.values()) {
            if (!session.canCapture()) continue
            try {
              send.push(session.capture(share))
            } catch (error) {
              problems.push(error)
            }
          }
        })
      } finally {
        // What was captured is good, whether or not the workload could be let go.
        for (const begin of send) begin()
      }
      if (problems.length > 0) throw problems[0]
    },
    lags: () =>
      [...sessions.values()].map(({ instance, lag }) => ({
        instance,
        lag: isOpen(instance) ? lag : { ...lag, attached: false },
      })),
    unreadable: () => serving?.scanner.unreadable ?? new Map(),
    async close() {
      this.stopServing()
      await listener.close()
    },
  }
}
