import { createVerify } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { instant } from '@understudy/shared/core/time'
import { parsePool } from '@understudy/shared/market/pool'
import { afterEach, expect, test } from 'vitest'
import { catalog } from './catalog.ts'
import { createIdentitySigner } from './identity.ts'
import { parseImdsScript } from './imds-script.ts'
import { createMarket } from './market.ts'
import { openTcpAddress } from './tcp-address.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

test('one seed, one story; another seed, another', () => {
  const story = (seed: number) => {
    const market = createMarket(seed, catalog)
    return Array.from({ length: 48 }, () => {
      market.advance(30)
      return market.states().map(({ price, regime, hasCapacity }) => [price, regime, hasCapacity])
    })
  }
  expect(story(1)).toEqual(story(1))
  expect(story(1)).not.toEqual(story(2))
})

test('prices move in steps, stay below on-demand, and every regime is seen', () => {
  const market = createMarket(5, catalog)
  const seen = new Set<string>()
  let changes = 0
  let looks = 0
  let before = market.states()
  for (let minute = 0; minute < 7 * 24 * 60; minute += 5) {
    market.advance(5)
    const now = market.states()
    now.forEach((state, index) => {
      looks += 1
      if (state.price !== before[index]?.price) changes += 1
      seen.add(state.regime)
      expect(state.price).toBeGreaterThan(0)
      expect(state.price).toBeLessThanOrEqual(catalog[index]?.onDemandPrice ?? 0)
    })
    before = now
  }
  expect([...seen].sort()).toEqual(['calm', 'surge', 'tight'])
  // Real prices stand still for most of the time.
  expect(changes / looks).toBeLessThan(0.2)
  expect(changes).toBeGreaterThan(100)
})

test('a surging pool has nothing to give', () => {
  const market = createMarket(1, catalog)
  market.force('m5.large@us-east-1a', 'surge')
  expect(market.state('m5.large@us-east-1a')).toMatchObject({ regime: 'surge', hasCapacity: false })
})

test('an identity document verifies over its exact text only', () => {
  const signer = createIdentitySigner()
  const { document, signature } = signer.sign({
    instanceId: 'i-abc123',
    pool: parsePool('m5.large@us-east-1a'),
    privateIp: '10.0.0.1',
    launchedAt: instant(0),
  })
  const verify = (text: string) =>
    createVerify('RSA-SHA256').update(text).verify(signer.publicKey, signature, 'base64')
  expect(verify(document)).toBe(true)
  expect(verify(JSON.stringify(JSON.parse(document)))).toBe(false)
})

test.each([
  [{ timeline: [{ at: -1, rebalance: true }] }, 'timeline.0.at'],
  [{ timeline: [{ at: 1, explode: true }] }, 'explode'],
  [{ timeline: [{ at: 1, fault: { kind: 'odd' } }] }, 'timeline.0.fault.kind'],
  ['nonsense', 'script'],
])('a wrong script is refused: %j', (script, place) => {
  expect(() => parseImdsScript(script)).toThrow(place)
})

/** A server that says its name to whoever connects. */
async function speaker(name: string): Promise<{ host: string; port: number }> {
  const server: Server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.write(name)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => new Promise((resolve) => server.close(() => resolve())))
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
}

const ask = (port: number): Promise<{ said: string; socket: Socket }> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    cleanups.push(() => void socket.destroy())
    socket.once('data', (data) => resolve({ said: data.toString(), socket }))
    socket.on('error', reject)
    socket.once('close', () => reject(new Error('closed')))
  })

test('an address leads to the primary of the highest epoch, and cuts whoever was connected before', async () => {
  const address = await openTcpAddress(0)
  cleanups.push(() => address.close())
  await expect(ask(address.port)).rejects.toThrow()
  address.point(1, await speaker('one'))
  const first = await ask(address.port)
  expect(first.said).toBe('one')
  const cut = new Promise((resolve) => first.socket.once('close', resolve))
  address.drain(2)
  await cut
  await expect(ask(address.port)).rejects.toThrow()
  address.point(2, await speaker('two'))
  expect((await ask(address.port)).said).toBe('two')
})

test('a late call of an older epoch changes nothing', async () => {
  const address = await openTcpAddress(0)
  cleanups.push(() => address.close())
  const two = await speaker('two')
  address.point(2, two)
  const old = await speaker('one')
  expect(() => address.point(1, old)).toThrow('comes too late')
  expect(() => address.drain(1)).toThrow('comes too late')
  address.drain(2)
  expect((await ask(address.port)).said).toBe('two')
})
