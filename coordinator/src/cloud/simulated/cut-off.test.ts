import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { cutOff } from './cut-off.ts'

test('a connection that was just ended is closed for good when it is cut off', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.end('bye')
    cutOff(socket)
  })
  onTestFinished(() => void server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  onTestFinished(() => void client.destroy())
  client.resume()
  const failed = new Promise<string | undefined>((resolve) => {
    client.on('error', (error: NodeJS.ErrnoException) => resolve(error.code))
  })
  // Somebody who only reads cannot tell a socket that is still open over there; who writes can.
  const write = () => {
    if (!client.destroyed) client.write('x', () => setImmediate(write))
  }
  client.once('connect', write)
  expect(await failed).toMatch(/ECONNRESET|EPIPE/)
})
