import { AppError } from '@understudy/shared/core/app-error'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import type { Group } from '@understudy/shared/failover/group'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import pino from 'pino'
import { expect, test } from 'vitest'
import { createTraffic } from './traffic.ts'

const R = instanceId('i-r')

function bench(refusals: readonly Error[]) {
  const time = createVirtualTime()
  const asked: number[] = []
  const routed: number[] = []
  const left = [...refusals]
  let group = at(4, 4)
  const traffic = createTraffic({
    agent: agentId('agent-a'),
    address: {
      async point({ epoch }) {
        asked.push(epoch)
        const refusal = left.shift()
        if (refusal) throw refusal
        return 'it leads to i-r'
      },
      drain: async () => undefined,
    },
    clock: time.clock,
    log: pino({ level: 'silent' }),
    group: () => group,
    timed: () => undefined,
    routed: (epoch) => routed.push(epoch),
    signal: new AbortController().signal,
  })
  return { time, traffic, asked, routed, become: (next: Group) => (group = next) }
}

const at = (epoch: number, term: number, primary = R) =>
  ({ epoch, primary, certificate: { proposal: { term } } }) as unknown as Group

const away = new Error('the cloud does not answer')

test('the address is led to the primary though its successor has changed since the first try', async () => {
  const { time, traffic, asked, routed, become } = bench([away, away])
  const pointed = traffic.point(R, undefined)
  become(at(5, 4))
  await time.advance(1000)
  await pointed
  expect(asked).toEqual([4, 5, 5])
  expect(routed).toEqual([5])
})

test('whoever is not primary any more is led to no longer', async () => {
  const { time, traffic, asked, routed, become } = bench([away])
  const pointed = traffic.point(R, undefined)
  become(at(5, 5, instanceId('i-q')))
  await time.advance(1000)
  await pointed
  expect(asked).toEqual([4])
  expect(routed).toEqual([])
})

test('an address that is at a later epoch is left alone', async () => {
  const { traffic, asked, routed } = bench([new AppError('stale_epoch', 'it is at epoch 6')])
  await traffic.point(R, undefined)
  expect(asked).toEqual([4])
  expect(routed).toEqual([])
})
