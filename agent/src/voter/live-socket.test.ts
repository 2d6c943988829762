import { EventEmitter } from 'node:events'
import { mono, systemClock } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { watchLife } from './live-socket.ts'

/** A socket that only counts, under a clock that stands still between `pass`es. */
function bench() {
  let now = mono(0)
  let due: (() => void) | undefined
  const socket = Object.assign(new EventEmitter(), {
    readyState: WebSocket.OPEN,
    pings: 0,
    ended: false,
    ping() {
      socket.pings += 1
    },
    terminate() {
      socket.ended = true
    },
  })
  const clock = {
    ...systemClock,
    mono: () => now,
    timer: (_: number, fire: () => void) => {
      due = fire
      return () => {
        due = undefined
      }
    },
  }
  watchLife(socket as unknown as WebSocket, clock)
  const pass = (millis: number) => {
    now = mono(now + millis)
    const fire = due
    due = undefined
    fire?.()
  }
  return { socket, pass, read: () => new Promise(setImmediate), isWatched: () => due !== undefined }
}

test('a connection that says nothing for long is asked, and then given up', async () => {
  const { socket, pass, read } = bench()
  pass(1000)
  pass(1000)
  expect(socket).toMatchObject({ pings: 2, ended: false })
  pass(1500)
  await read()
  expect(socket.ended).toBe(true)
})

test('what came while this process stood still counts, though nobody has read it yet', async () => {
  const { socket, pass, read, isWatched } = bench()
  pass(5000)
  socket.emit('pong')
  await read()
  expect(socket.ended).toBe(false)
  expect(isWatched()).toBe(true)
  pass(3500)
  await read()
  expect(socket.ended).toBe(true)
})

test('one that has closed is not watched any more', () => {
  const { socket, isWatched } = bench()
  socket.emit('close')
  expect(isWatched()).toBe(false)
})
