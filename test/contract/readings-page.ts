import { applyJsonChange, type Json } from '@understudy/shared/core/json-change'
import type {
  ReadingFrame,
  ReadingsMessage,
  ReadingsRequest,
  WatchRequest,
} from '@understudy/shared/protocol/readings'
import { WebSocket } from 'ws'
import { until } from './bench.ts'

/** What a page knows of one reading. */
interface Known {
  /** The GET that answers the same. */
  path: string
  value: Json
  readonly frames: ReadingFrame[]
}

/** A page that watches readings, as the dashboard does. */
export interface ReadingsPage {
  /** The code with which it was closed. */
  readonly closed: number | undefined
  readonly messages: readonly ReadingsMessage[]
  /** The longest message as it came, in bytes. */
  readonly longest: number
  say(request: ReadingsRequest | string): void
  /** Resolves with its first frame. */
  watch(id: number, wish: Omit<WatchRequest, 'type' | 'id'>): Promise<ReadingFrame>
  known(id: number): Known
  end(): Promise<void>
}

export const addressOf = (url: string): string => `${url.replace('http', 'ws')}/api/live/readings`

export async function openReadings(url: string, headers: Record<string, string> = {}): Promise<ReadingsPage> {
  const socket = new WebSocket(addressOf(url), { headers })
  const readings = new Map<number, Known>()
  const messages: ReadingsMessage[] = []
  let text = ''
  let longest = 0
  let closed: number | undefined

  const known = (id: number): Known => {
    const one = readings.get(id) ?? { path: '', value: null, frames: [] }
    readings.set(id, one)
    return one
  }

  function take(message: ReadingsMessage): void {
    if (message.type === 'part') {
      text += message.text
      if (message.more) return
      const whole = JSON.parse(text) as ReadingsMessage
      text = ''
      return take(whole)
    }
    messages.push(message)
    if (message.type === 'still' || message.id === null) return
    const one = known(message.id)
    one.frames.push(message)
    if ('path' in message && message.path !== undefined) one.path = message.path
    if (message.type === 'snapshot') one.value = message.value
    if (message.type === 'patch') one.value = applyJsonChange(one.value, message.change)
  }

  socket.on('message', (data: Buffer) => {
    longest = Math.max(longest, data.byteLength)
    take(JSON.parse(data.toString()) as ReadingsMessage)
  })
  socket.on('close', (code) => {
    closed = code
  })
  await new Promise((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('error', reject)
  })

  const page: ReadingsPage = {
    get closed() {
      return closed
    },
    get longest() {
      return longest
    },
    messages,
    known,
    say: (request) => socket.send(typeof request === 'string' ? request : JSON.stringify(request)),
    async watch(id, wish) {
      const one = known(id)
      const before = one.frames.length
      page.say({ type: 'watch', id, ...wish })
      await until(() => one.frames.length > before)
      return one.frames[before] as ReadingFrame
    },
    async end() {
      socket.close()
      await until(() => closed !== undefined)
    },
  }
  return page
}
