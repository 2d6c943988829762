import { agentId, type InstanceId, instanceId } from '@understudy/shared/core/ids'
import type { CoordinatorMessage, Report } from '@understudy/shared/protocol/link'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import { newVoterKey } from '@understudy/shared/protocol/vote-signing'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createLinks } from './links.ts'

const AGENT = agentId('agent-1')
const ONE = instanceId('i-0123456789abcdef0')
const TWO = instanceId('i-0123456789abcdef1')
const BOOT = '3f0f3a52-97a5-4c5c-9a11-0d2f7a3b1c01'
const NEXT_BOOT = '3f0f3a52-97a5-4c5c-9a11-0d2f7a3b1c02'

function bench() {
  const heard: [InstanceId, Report][] = []
  const links = createLinks(
    {
      onHello: () => true,
      onHeartbeat: () => undefined,
      onReport: (_, instance, report) => void heard.push([instance, report]),
      onCertificateRequest: () => undefined,
      onDisconnected: () => undefined,
    },
    pino({ level: 'silent' }),
  )
  /** A connection that has said hello. */
  function connect(instance: InstanceId, boot = BOOT) {
    const said: CoordinatorMessage[] = []
    const session = links.accept(AGENT, instance, {
      send: (text) => void said.push(JSON.parse(text)),
      close: () => undefined,
    })
    const say = (message: object) => session.receive(JSON.stringify(message))
    say({
      type: 'hello',
      protocol: PROTOCOL_VERSION,
      agentVersion: '1.0.0',
      instanceId: instance,
      boot,
      seq: 1,
      sentAt: 1,
      role: 'replica',
      epoch: 1,
      replication: { host: '127.0.0.1', port: 7000, voterPort: 7001 },
      voter: {
        key: newVoterKey().publicKey,
        chain: [],
        voted: 0,
        resigned: 0,
        coordinatorStart: 0,
        coordinatorStartProof: '',
      },
    })
    const report = (id: number) => {
      said.length = 0
      say({ type: 'report', id, body: { kind: 'fenced', epoch: id } })
      return said
    }
    return { report }
  }
  return { connect, heard }
}

test('a report that comes again over the next connection is acknowledged and counts once', () => {
  const { connect, heard } = bench()
  const first = connect(ONE)
  expect(first.report(1)).toEqual([{ type: 'report-ack', id: 1 }])
  first.report(2)
  const second = connect(ONE)
  expect(second.report(1)).toEqual([{ type: 'report-ack', id: 1 }])
  expect(second.report(2)).toEqual([{ type: 'report-ack', id: 2 }])
  expect(second.report(3)).toEqual([{ type: 'report-ack', id: 3 }])
  expect(heard.map(([, report]) => report)).toEqual([1, 2, 3].map((epoch) => ({ kind: 'fenced', epoch })))
})

test('another run of the daemon, and another instance, count their own reports', () => {
  const { connect, heard } = bench()
  connect(ONE).report(1)
  connect(TWO).report(1)
  connect(ONE, NEXT_BOOT).report(1)
  expect(heard.map(([instance]) => instance)).toEqual([ONE, TWO, ONE])
})
