import { openSync, writeSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { messageOf } from '@understudy/shared/core/app-error'
import { type KeyValueStore, openKeyValueStore } from './kv-store.ts'

/**
 * The demo's workload: a key-value server that answers a write once it is on disk, like any database. It knows
 * nothing of Understudy but the epoch that its start hook was given, which it puts beside everything it does into a
 * file that outlives its machine: the witness of who ran when.
 */

/** Names the process that answers, so that a client can tell a new one from the one before. */
const SERVED_BY = 'x-served-by'

const MAX_VALUE = 8 * 1024 * 1024
const STAMP_EVERY = 25

export function runKeyValueServer(env: Readonly<Record<string, string | undefined>>): void {
  const port = Number(env.SERVICE_PORT)
  const store = openKeyValueStore(env.STATE_DIR ?? 'state')
  if (store.size === 0) fillBallast(store, Number(env.BALLAST_MIB ?? 0))
  const stamp = createWitness(env)
  const servedBy = `${env.AGENT_INSTANCE_ID ?? ''}/${process.pid}`

  /** Writes that came in the same turn of the event loop are synced together. */
  let waiting: (() => void)[] = []
  const commit = (done: () => void) => {
    if (waiting.push(done) > 1) return
    setImmediate(() => {
      const batch = waiting
      waiting = []
      store.sync()
      stamp()
      for (const answer of batch) answer()
    })
  }

  const server = createServer((request, response) => {
    response.setHeader(SERVED_BY, servedBy)
    const { pathname } = new URL(request.url ?? '/', 'http://kv')
    if (pathname === '/health') return send(response, 200, 'ok')
    if (pathname === '/dump') return dump(response, store)
    if (pathname === '/kv' && request.method === 'DELETE') {
      store.cutBack(isBallast)
      return commit(() => send(response, 200, 'as it was at first'))
    }
    const key = /^\/kv\/([A-Za-z0-9_.-]{1,200})$/.exec(pathname)?.[1]
    if (!key) return send(response, 404, 'no such path')
    if (request.method === 'PUT')
      return readBody(request, response, (value) => {
        try {
          store.put(key, value)
        } catch (error) {
          return send(response, 507, messageOf(error))
        }
        commit(() => send(response, 200, env.AGENT_EPOCH ?? ''))
      })
    const value = store.get(key)
    return value === undefined ? send(response, 404, 'no such key') : send(response, 200, value)
  })
  stamp()
  setInterval(stamp, STAMP_EVERY)
  server.listen(port, '127.0.0.1')
}

function createWitness(env: Readonly<Record<string, string | undefined>>): () => void {
  const path = env.WITNESS_FILE
  if (!path) return () => undefined
  // Opened for appending, so that the lines of all workloads stand in the order in which they were written.
  const file = openSync(path, 'a')
  const line = `${env.AGENT_ID} ${env.AGENT_EPOCH} ${env.AGENT_INSTANCE_ID} ${process.pid}\n`
  return () => void writeSync(file, line)
}

function send(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

function dump(response: ServerResponse, store: KeyValueStore): void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  for (const key of store.keys())
    if (!isBallast(key)) response.write(`${JSON.stringify([key, store.get(key)])}\n`)
  response.end()
}

function readBody(request: IncomingMessage, response: ServerResponse, done: (text: string) => void): void {
  const parts: Buffer[] = []
  let bytes = 0
  request.on('data', (part: Buffer) => {
    bytes += part.length
    if (bytes > MAX_VALUE) request.destroy()
    else parts.push(part)
  })
  request.on('end', () => done(Buffer.concat(parts).toString('utf8')))
  request.on('error', () => response.destroy())
}

const HEX = '0123456789abcdef'

const isBallast = (key: string): boolean => key.startsWith('ballast')

/** State that was there before, for measurements: it has to be copied and to be read at every start. */
function fillBallast(store: KeyValueStore, mebibytes: number): void {
  for (let index = 0; index < mebibytes * 16; index += 1) {
    const block = Buffer.alloc(64 * 1024, '0')
    for (let part = 0; part < 64 * 64; part += 1) {
      // Eight hexadecimal digits behind eight zeros, written without a string for each: a GiB has 67 million of them.
      let word = (index * 2654435761 + part * 40503) >>> 0
      for (let digit = part * 16 + 15; word > 0; digit -= 1) {
        block[digit] = HEX.charCodeAt(word & 15)
        word >>>= 4
      }
    }
    store.put(`ballast-${index}`, block.toString('latin1'))
  }
  store.sync()
}

if (process.argv[1]?.endsWith('kv-server.ts')) runKeyValueServer(process.env)
