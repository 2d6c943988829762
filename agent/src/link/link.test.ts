import type { AddressInfo } from 'node:net'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { systemClock } from '@understudy/shared/core/time'
import type { AgentMessage, CoordinatorMessage } from '@understudy/shared/protocol/link'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { createLink, type LinkPeer } from './link.ts'

const welcome: CoordinatorMessage = {
  type: 'welcome',
  protocol: PROTOCOL_VERSION,
  agentId: agentId('shop'),
  coordinatorStart: 1,
  coordinatorStartProof: 'P'.repeat(43),
  key: 'K'.repeat(43),
  policy: { heartbeat: 150, lease: 1000, drift: 0.05, fenceBudget: 200 },
} as CoordinatorMessage

/** A coordinator that welcomes whoever says hello, and keeps what it is told. */
async function coordinator(onReport: (id: number, kind: string) => void): Promise<string> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  onTestFinished(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  server.on('connection', (socket) =>
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString('utf8')) as AgentMessage
      if (message.type === 'hello') socket.send(JSON.stringify(welcome))
      if (message.type === 'report') onReport(message.id, message.body.kind)
    }),
  )
  await new Promise((resolve) => server.once('listening', resolve))
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('what was reported while the coordinator was away comes first, and in order', async () => {
  const told: string[] = []
  const all = Promise.withResolvers<void>()
  const url = await coordinator((id, kind) => {
    told.push(`${id} ${kind}`)
    if (told.length === 4) all.resolve()
  })
  const epoch = 3
  const peer = {
    hello: () => ({
      ...{ agentVersion: '0.1.0', instanceId: instanceId('i-0a'), boot: 'b', role: 'primary', epoch },
      replication: null,
      voter: null,
    }),
    heartbeat: () => ({}),
    onMessage: () => link.report({ kind: 'target-lifecycle', state: 'InService' }),
    onConnected: () => link.report({ kind: 'notice-withdrawn', noticeId: 'of now' }),
  } as unknown as LinkPeer
  const link = createLink({
    ...{ url, credential: 'secret', peer, clock: systemClock, random: () => 0 },
    log: pino({ level: 'silent' }),
  })
  link.report({ kind: 'promotion-failed', epoch, why: 'the first' })
  link.report({ kind: 'promoted', epoch })
  const stop = new AbortController()
  onTestFinished(() => stop.abort())
  const running = link.run(stop.signal)
  await all.promise
  expect(told).toEqual(['1 promotion-failed', '2 promoted', '3 target-lifecycle', '4 notice-withdrawn'])
  stop.abort()
  await running
})
