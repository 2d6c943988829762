import { randomUUID } from 'node:crypto'
import { type IncidentId, type InstanceId, instanceId } from '@understudy/shared/core/ids'
import { instant, millis, mono } from '@understudy/shared/core/time'
import type { Certificate } from '@understudy/shared/failover/certificate'
import type { Left } from '@understudy/shared/failover/member-types'
import type { ElectionExtras, VoterEffect, VoterMessage } from '@understudy/shared/failover/voter'
import {
  type AgentMessage,
  type CoordinatorMessage,
  coordinatorMessageSchema,
  type Report,
} from '@understudy/shared/protocol/link'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import { voterMessageSchema } from '@understudy/shared/protocol/voter-messages'
import { WebSocket } from 'ws'
import { createPuppetVoter, newPuppetDisk, type PuppetDisk, type PuppetPeers } from './puppet-voter.ts'

type CertificateAnswer = CoordinatorMessage & { type: 'certificate' | 'certificate-refused' }
type Order = (CoordinatorMessage & { type: 'order' })['order']

export interface Elected {
  readonly certificate: Certificate
  readonly extras: ElectionExtras
}

/**
 * An instance without an agent: the test speaks for it over a real link. By itself it does what a well-behaved agent
 * does at once; a test replaces whatever it is about.
 */
export interface Puppet {
  readonly instance: InstanceId
  /** What it calls the API with. */
  readonly credential: string
  readonly orders: readonly Order[]
  readonly refusals: readonly string[]
  role: (AgentMessage & { type: 'heartbeat' })['role']
  epoch: number
  /** What an order is answered with; the well-behaved answer by default. */
  onOrder: (order: Order) => void
  /** It has won an election, and its workload would start now; by default it does. */
  onElected: (elected: Elected) => void
  /** Elections that it has won, in order. */
  readonly elections: readonly Elected[]
  /** Starts the workload. */
  serve(elected: Elected): void
  /** Never again in office in this epoch. */
  resign(epoch: number): void
  /** Gives its epoch up as the order of a hand-over says, with or without a coordinator. */
  release(target: InstanceId, incident: string, more?: { left?: Left; planned?: boolean }): void
  readonly lease: 'none' | 'solo' | 'until'
  readonly disk: PuppetDisk
  /** Says something as a voter. */
  vote(message: VoterMessage): void
  /** Whom the primary vouches for. */
  attached: readonly InstanceId[]
  report(report: Report): void
  /** A step of an incident that has just ended here, and took so long. */
  step(incident: string, step: string, took?: number): void
  /** Sends what the types do not allow. */
  sendAnything(message: unknown): void
  /** Reports that the coordinator has acknowledged, by number. */
  readonly acknowledged: readonly number[]
  /** Certificates, and refusals of them. */
  readonly certificates: readonly CertificateAnswer[]
  beat(): void
  /** Beats by itself until it is closed or silenced. */
  silence(): void
  obey(order: Order): void
  /** To a coordinator that has started again: everything here has gone on meanwhile. */
  connect(url: string): Promise<void>
  close(): Promise<void>
}

export async function connectPuppet(options: {
  readonly url: string
  readonly agent: string
  readonly instance: string
  readonly credential: string
  readonly protocol?: number
  readonly replicationPort?: number
  /** Of an earlier daemon on the same instance. */
  readonly disk?: PuppetDisk
  readonly peers?: PuppetPeers
}): Promise<Puppet> {
  const orders: Order[] = []
  const refusals: string[] = []
  const acknowledged: number[] = []
  const certificates: CertificateAnswer[] = []
  const started = performance.now()
  const now = () => mono(performance.now() - started + 1)
  let socket: WebSocket | undefined
  let voting: WebSocket | undefined
  const self = instanceId(options.instance)
  const disk = options.disk ?? newPuppetDisk()
  const elections: Elected[] = []
  let handedOver: { incident: string; target: InstanceId } | undefined
  const boot = randomUUID()
  let seq = 0
  /** Reports that have not been acknowledged; they are sent again over the next connection. */
  const outbox: (AgentMessage & { type: 'report' })[] = []
  let reports = 0
  const voter = createPuppetVoter({
    self,
    disk,
    peers: options.peers ?? new Map(),
    now,
    send: (message) => {
      if (voting?.readyState === WebSocket.OPEN) voting.send(JSON.stringify(message))
    },
    onEffect,
  })
  const send = (message: AgentMessage) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message))
  }

  function onEffect(effect: VoterEffect): void {
    switch (effect.kind) {
      case 'elected':
        elections.push(effect)
        return puppet.onElected(effect)
      case 'advanced':
        puppet.epoch = effect.certificate.proposal.epoch
        return undefined
      case 'certified':
        return puppet.report({
          kind: 'certified',
          certificate: effect.certificate as never,
          extras: effect.extras,
        })
      case 'released':
        return onReleased(effect)
      default:
        return undefined
    }
  }

  function onReleased({ ok, why, vote }: VoterEffect & { kind: 'released' }): void {
    if (!handedOver) return
    const incident = handedOver.incident as IncidentId
    const { epoch } = puppet
    if (!ok || !vote) return puppet.report({ kind: 'hand-over-failed', epoch, incident, why })
    puppet.role = 'released'
    puppet.report({
      kind: 'released',
      epoch,
      incident,
      target: handedOver.target,
      vote: vote as never,
      seq: 1,
    })
  }

  const puppet: Puppet = {
    instance: self,
    elections,
    disk,
    get lease() {
      return voter.lease.kind
    },
    onElected: (elected) => puppet.serve(elected),
    serve({ certificate, extras }) {
      puppet.role = 'primary'
      puppet.epoch = certificate.proposal.epoch
      puppet.report({
        kind: 'promoted',
        epoch: puppet.epoch,
        ...(extras.incident ? { incident: extras.incident } : {}),
      })
    },
    resign: (epoch) => voter.step({ kind: 'resign', epoch }),
    release(target, incident, { left = { bytes: 0, names: 0 }, planned } = {}) {
      handedOver = { target, incident }
      const extras = { incident: incident as IncidentId, fresh: false, left, planned }
      voter.step({ kind: 'release', turn: 1, target, extras })
    },
    vote: (message) => voting?.send(JSON.stringify(message)),
    credential: options.credential,
    orders,
    refusals,
    acknowledged,
    certificates,
    step: (incident, step, took = 0) =>
      puppet.report({
        kind: 'step',
        incident: incident as IncidentId,
        step,
        began: mono(now() - took),
        tookMillis: millis(took),
        at: instant(Date.now()),
        ok: true,
        detail: '',
      }),
    sendAnything: (message) => socket?.send(JSON.stringify(message)),
    role: 'idle',
    epoch: disk.record?.certificate?.proposal.epoch ?? 0,
    attached: [],
    onOrder: (order) => puppet.obey(order),
    report(body) {
      reports += 1
      const report = { type: 'report' as const, id: reports, body }
      outbox.push(report)
      send(report)
    },
    beat() {
      seq += 1
      send({
        type: 'heartbeat',
        seq,
        sentAt: now(),
        role: puppet.role,
        epoch: puppet.epoch,
        workload: puppet.role === 'primary' ? 'running' : 'stopped',
        lease: { kind: voter.lease.kind },
        replicas: puppet.attached.map((replica) => ({
          instanceId: replica,
          attached: true,
          lagBytes: 0,
          lagBatches: 0,
          lagMillis: millis(0),
          safeMillis: millis(5),
        })),
        progress: null,
        roundTripMillis: millis(1),
        degraded: [],
      })
    },
    silence() {
      clearInterval(beating)
      voter.silence()
    },
    obey(order) {
      const epoch = order.epoch
      switch (order.kind) {
        case 'follow':
          puppet.role = 'replica'
          puppet.epoch = epoch
          return puppet.report({ kind: 'sync', epoch, sync: 'ready' })
        case 'hand-over':
          return puppet.release(order.target, order.incident)
        case 'fence':
          puppet.resign(puppet.epoch)
          puppet.role = 'fenced'
          puppet.epoch = epoch
          return puppet.report({ kind: 'fenced', epoch })
        case 'abort-hand-over':
          return undefined
      }
    },
    connect,
    async close() {
      clearInterval(beating)
      voter.silence()
      await disconnect()
    },
  }
  const beating = setInterval(() => {
    voter.step({ kind: 'pulse' })
    puppet.beat()
  }, 50)

  function onMessage(message: CoordinatorMessage): void {
    if (message.type === 'refused') refusals.push(`${message.code}: ${message.message}`)
    if (message.type === 'report-ack') {
      acknowledged.push(message.id)
      while (outbox[0] && outbox[0].id <= message.id) outbox.shift()
    }
    if (message.type === 'certificate' || message.type === 'certificate-refused') certificates.push(message)
    if (message.type === 'welcome') {
      const { policy, key, coordinatorStart, coordinatorStartProof } = message
      voter.welcome(policy, key, coordinatorStart, coordinatorStartProof)
    }
    if (message.type === 'snapshot') puppet.step(message.incident, 'emergency-snapshot')
    if (message.type !== 'order') return
    orders.push(message.order)
    puppet.onOrder(message.order)
  }

  const open = (path: string, url: string): WebSocket =>
    new WebSocket(`${url.replace('http', 'ws')}/api/agents/${options.agent}/${path}`, {
      headers: { authorization: `Bearer ${options.credential}` },
    })

  async function disconnect(): Promise<void> {
    voting?.close()
    const link = socket
    if (!link || link.readyState === WebSocket.CLOSED) return
    const closed = new Promise((resolve) => link.once('close', resolve))
    link.close()
    await closed
  }

  async function connect(url: string): Promise<void> {
    voting?.close()
    const link = open('link', url)
    socket = link
    voting = open('voter', url)
    // The link says what is wrong with the connection.
    voting.on('error', () => undefined)
    voting.on('message', (data: Buffer) =>
      voter.hear(voterMessageSchema.parse(JSON.parse(data.toString('utf8')))),
    )
    link.on('message', (data: Buffer) =>
      onMessage(coordinatorMessageSchema.parse(JSON.parse(data.toString('utf8')))),
    )
    await new Promise<void>((resolve, reject) => {
      link.once('open', resolve)
      link.once('error', reject)
      link.once('unexpected-response', (_, response) => reject(new Error(`status ${response.statusCode}`)))
    })
    seq += 1
    send(hello())
    for (const report of outbox) send(report)
  }

  const hello = (): AgentMessage => ({
    type: 'hello',
    protocol: options.protocol ?? PROTOCOL_VERSION,
    agentVersion: 'puppet',
    instanceId: self,
    boot,
    role: puppet.role,
    epoch: puppet.epoch,
    seq,
    sentAt: now(),
    replication: { host: '127.0.0.1', port: options.replicationPort ?? 7070, voterPort: 7071 },
    voter: {
      key: disk.key.publicKey,
      chain: [...voter.voter.record.chain] as never,
      voted: voter.voter.record.voted.epoch,
      resigned: voter.voter.record.resigned,
      coordinatorStart: disk.coordinatorStart,
      coordinatorStartProof: disk.coordinatorStartProof,
    },
  })

  try {
    await connect(options.url)
  } catch (error) {
    clearInterval(beating)
    voter.silence()
    throw error
  }
  puppet.report({ kind: 'sync', epoch: 0, sync: 'none' })
  return puppet
}
