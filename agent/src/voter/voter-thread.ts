import { parentPort, workerData } from 'node:worker_threads'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { type Mono, mono, systemClock } from '@understudy/shared/core/time'
import { COORDINATOR } from '@understudy/shared/failover/certificate'
import { bootTime, startGuard } from '../guard/guard.ts'
import { type CoordinatorSocket, openCoordinatorSocket } from './coordinator-socket.ts'
import { createPeers } from './peers.ts'
import type { Command, Level, Note, PeerAddress, ThreadSetup } from './thread-messages.ts'
import { createVoterLoop } from './voter-loop.ts'
import { openVoterFile } from './voter-record.ts'

/**
 * The thread of the voter. Heartbeats, votes and leases have an event loop and sockets of their own, so that nothing
 * that the rest of the agent does delays them. `bundle` puts it in a file of its own: agent-voter.js.
 */

/** The same for all threads, and still right after a restart of the process: what is older is merely old. */
const now = (): Mono => mono(Number(process.hrtime.bigint()) / 1e6)

const tell = (note: Note): void => parentPort?.postMessage(note)

const log = (level: Level, line: Readonly<Record<string, unknown>>): void =>
  tell({ kind: 'log', level, line })

/** The part of a logger that is used here; the main thread has the whole one. */
const threadLog = {
  debug: (line: Readonly<Record<string, unknown>>) => log('debug', line),
  info: (line: Readonly<Record<string, unknown>>) => log('info', line),
  warn: (line: Readonly<Record<string, unknown>>) => log('warn', line),
  error: (line: Readonly<Record<string, unknown>>) => log('error', line),
}

async function run(setup: ThreadSetup): Promise<void> {
  const { agent, self } = setup
  const file = openVoterFile(setup.path, self)
  const guard = startGuard({
    key: setup.workloadKey,
    clock: systemClock,
    random: Math.random,
    log: threadLog,
    onKilled: (processes, left) => tell({ kind: 'killed', processes, left }),
  })
  let allowed: ReadonlySet<string> = new Set()
  let upstream: PeerAddress | undefined
  let cancelPulse: () => void = () => undefined
  let coordinator: CoordinatorSocket | undefined
  let { credential } = setup
  const started = now()

  const peers = createPeers({
    self: { agent, instance: self },
    credentials: setup.tls,
    mayCome: (instance) => {
      const proposal = loop.certificate?.proposal
      return allowed.has(instance) || proposal?.primary === instance || proposal?.successor === instance
    },
    onMessage: (from, data) => loop.receive(from, data),
    onChange: () => loop.changed(),
    clock: systemClock,
    random: Math.random,
    log,
  })
  const loop = createVoterLoop({ agent, self }, file, {
    now,
    boot: bootTime,
    send(to, message) {
      const text = JSON.stringify(message)
      if (to === COORDINATOR) coordinator?.send(text)
      else peers.send(to, text)
    },
    broadcast: (message) => peers.broadcast(JSON.stringify(message)),
    tell,
    guard,
    peers: () => peers.connected,
    coordinatorLostAt: () => (coordinator ? coordinator.lostAt : started),
  })
  const port = await peers.listen(setup.host, setup.port)

  function reachCoordinator(): void {
    coordinator = openCoordinatorSocket({
      url: setup.url,
      credential,
      onMessage: (data) => loop.receive(COORDINATOR, data),
      onChange: () => loop.changed(),
      now,
      clock: systemClock,
      random: Math.random,
      log,
    })
  }

  function pulse(): void {
    loop.pulse()
    cancelPulse = systemClock.timer(loop.nextPulse, pulse)
    // Who was dialled has no part in what was decided since.
    const proposal = loop.certificate?.proposal
    if (!upstream || !proposal || proposal.epoch <= upstream.epoch) return
    if (proposal.primary !== upstream.instanceId && proposal.successor !== upstream.instanceId)
      dial(undefined)
  }

  function dial(next: PeerAddress | undefined): void {
    upstream = next
    peers.dial(next)
  }

  async function close(): Promise<void> {
    cancelPulse()
    coordinator?.close()
    peers.close()
    await guard.close()
    parentPort?.close()
  }

  parentPort?.on('message', (command: Command) => {
    switch (command.kind) {
      case 'allow':
        allowed = new Set(command.peers)
        return
      case 'dial':
        return dial(command.upstream)
      case 'tls':
        return peers.useCredentials(command.credentials)
      case 'credential':
        credential = command.credential
        return coordinator?.useCredential(credential)
      case 'close':
        return void close()
      case 'greeted':
        loop.command(command)
        // Before, it would not be known whose votes to believe.
        if (coordinator) coordinator.hurry()
        else reachCoordinator()
        return
      default:
        return loop.command(command)
    }
  })
  tell({ kind: 'ready', port, key: file.key.publicKey })
  loop.changed()
  if (file.memory.coordinatorKey !== undefined) reachCoordinator()
  pulse()
}

run(workerData as ThreadSetup).catch((error: unknown) => {
  const { code, hint } = error instanceof AppError ? error : { code: 'internal', hint: undefined }
  tell({ kind: 'failed', code, message: messageOf(error), hint })
  parentPort?.close()
})
