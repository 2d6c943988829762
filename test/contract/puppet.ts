import { randomUUID } from 'node:crypto'
import { type IncidentId, type InstanceId, instanceId } from '@understudy/shared/core/ids'
import { instant, millis, mono } from '@understudy/shared/core/time'
import {
  type AgentMessage,
  type CoordinatorMessage,
  coordinatorMessageSchema,
  type Report,
} from '@understudy/shared/protocol/link'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import { WebSocket } from 'ws'

type CertificateAnswer = CoordinatorMessage & { type: 'certificate' | 'certificate-refused' }
type Order = (CoordinatorMessage & { type: 'order' })['order']

/**
 * An instance without an agent: the test speaks for it over a real link. By itself it does what a well-behaved agent
 * does at once; a test replaces whatever it is about.
 */
export interface Puppet {
  readonly instance: InstanceId
  readonly orders: readonly Order[]
  readonly refusals: readonly string[]
  role: (AgentMessage & { type: 'heartbeat' })['role']
  epoch: number
  /** What an order is answered with; the well-behaved answer by default. */
  onOrder: (order: Order) => void
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
  close(): Promise<void>
}

export async function connectPuppet(options: {
  readonly url: string
  readonly agent: string
  readonly instance: string
  readonly credential: string
  readonly protocol?: number
  readonly replicationPort?: number
}): Promise<Puppet> {
  const orders: Order[] = []
  const refusals: string[] = []
  const acknowledged: number[] = []
  const certificates: CertificateAnswer[] = []
  const started = performance.now()
  const now = () => mono(performance.now() - started + 1)
  const socket = new WebSocket(`${options.url.replace('http', 'ws')}/api/agents/${options.agent}/link`, {
    headers: { authorization: `Bearer ${options.credential}` },
  })
  let seq = 0
  let reports = 0
  let lease: { kind: 'none' | 'solo' | 'until'; seq: number } = { kind: 'none', seq: 0 }
  const send = (message: AgentMessage) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message))
  }

  const puppet: Puppet = {
    instance: instanceId(options.instance),
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
    sendAnything: (message) => socket.send(JSON.stringify(message)),
    role: 'idle',
    epoch: 0,
    attached: [],
    onOrder: (order) => puppet.obey(order),
    report(body) {
      reports += 1
      send({ type: 'report', id: reports, body })
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
        lease,
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
    silence: () => clearInterval(beating),
    obey(order) {
      const epoch = order.epoch
      switch (order.kind) {
        case 'follow':
          puppet.role = 'replica'
          puppet.epoch = epoch
          return puppet.report({ kind: 'sync', epoch, sync: 'ready' })
        case 'promote':
          puppet.role = 'primary'
          puppet.epoch = epoch
          lease = { kind: order.lease.solo ? 'solo' : 'until', seq: order.lease.seq }
          return puppet.report({
            kind: 'promoted',
            epoch,
            ...(order.incident ? { incident: order.incident } : {}),
          })
        case 'hand-over':
          puppet.role = 'released'
          lease = { kind: 'none', seq: 0 }
          return puppet.report({
            kind: 'released',
            epoch,
            incident: order.incident as IncidentId,
            target: order.target,
            seq: 1,
          })
        case 'fence':
          puppet.role = 'fenced'
          puppet.epoch = epoch
          lease = { kind: 'none', seq: 0 }
          return puppet.report({ kind: 'fenced', epoch })
        case 'abort-hand-over':
          return undefined
      }
    },
    close: () =>
      new Promise((resolve) => {
        clearInterval(beating)
        socket.once('close', () => resolve())
        socket.close()
        if (socket.readyState === WebSocket.CLOSED) resolve()
      }),
  }
  const beating = setInterval(() => puppet.beat(), 50)

  socket.on('message', (data: Buffer) => {
    const message = coordinatorMessageSchema.parse(JSON.parse(data.toString('utf8')))
    if (message.type === 'refused') refusals.push(`${message.code}: ${message.message}`)
    if (message.type === 'report-ack') acknowledged.push(message.id)
    if (message.type === 'certificate' || message.type === 'certificate-refused') certificates.push(message)
    if (message.type === 'lease' && message.grant.epoch === puppet.epoch && puppet.role === 'primary')
      lease = { kind: message.grant.solo ? 'solo' : 'until', seq: message.grant.seq }
    if (message.type !== 'order') return
    orders.push(message.order)
    puppet.onOrder(message.order)
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('error', reject)
    socket.once('unexpected-response', (_, response) => reject(new Error(`status ${response.statusCode}`)))
  }).finally(() => {
    if (socket.readyState !== WebSocket.OPEN) clearInterval(beating)
  })
  seq += 1
  send({
    type: 'hello',
    protocol: options.protocol ?? PROTOCOL_VERSION,
    agentVersion: 'puppet',
    instanceId: instanceId(options.instance),
    boot: randomUUID(),
    role: 'idle',
    epoch: 0,
    seq,
    sentAt: now(),
    replication: { host: '127.0.0.1', port: options.replicationPort ?? 7070 },
  })
  puppet.report({ kind: 'sync', epoch: 0, sync: 'none' })
  return puppet
}
