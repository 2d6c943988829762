import { appendFileSync, existsSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { z } from 'zod'

/**
 * The workloads of many instances in one process, all started before: an instance's own start hook only opens its gate,
 * a file with the epoch and a process that does nothing. Like every process that a hook leaves behind, that one is what
 * the agent and its guard end when a lease is over, and the gate with it. It speaks as the demo's key-value server does. Instances come as lines of JSON
 * on standard input, and its end is the end of it.
 */

const instanceSchema = z.object({
  instance: z.string(),
  agent: z.string(),
  port: z.int(),
  directory: z.string(),
  witness: z.string(),
})
export type GateInstance = z.infer<typeof instanceSchema>

/** Kept in every instance's directory; empty when closed. */
export const GATE = 'gate'
export const GATE_HOOKS = `#!/bin/sh
cd "\${0%/*}"
case "$1" in
  start | thaw)
    sleep 86400 > /dev/null 2>&1 &
    echo "$AGENT_EPOCH $!" > ${GATE} ;;
  stop | freeze)
    [ -f ${GATE} ] && read -r _ pid < ${GATE}
    : > ${GATE}
    [ -z "\${pid:-}" ] || kill -KILL "$pid" 2> /dev/null || : ;;
esac
`

const STAMP_EVERY = 100

/** The epoch for which the gate is open; undefined when it is closed, or what holds it open has ended. */
export function openFor(directory: string): string | undefined {
  const [epoch, pid] = read(join(directory, GATE)).trim().split(' ')
  if (!epoch || !pid) return undefined
  // One that has ended may still be listed (Z, X), until somebody has heard of its end.
  const [, state] = / ([A-Za-z]) /.exec(read(`/proc/${pid}/stat`)) ?? []
  return state === undefined || /[ZX]/.test(state) ? undefined : epoch
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function serve({ instance, agent, port, directory, witness }: GateInstance): void {
  const writes = join(directory, 'state/writes')
  const file = openSync(witness, 'a')
  const stamp = (epoch: string) => void writeSync(file, `${agent} ${epoch} ${instance} gate\n`)

  /** Acknowledged only if the gate is still open then: whatever was acknowledged came before it was closed. */
  const acknowledge = (response: ServerResponse) => {
    const epoch = openFor(directory)
    if (epoch === undefined) return void response.destroy()
    stamp(epoch)
    send(response, 200, 'ok')
  }
  const server = createServer((request, response) => {
    response.setHeader('x-served-by', instance)
    if (openFor(directory) === undefined) return send(response, 503, 'the gate is closed')
    const path = request.url ?? ''
    if (path === '/dump') return send(response, 200, existsSync(writes) ? readFileSync(writes, 'utf8') : '')
    const key = /^\/kv\/([A-Za-z0-9_.-]{1,200})$/.exec(path)?.[1]
    if (request.method === 'PUT' && key)
      return readAll(request, (value) => {
        appendFileSync(writes, `${JSON.stringify([key, value])}\n`)
        acknowledge(response)
      })
    if (request.method === 'DELETE' && existsSync(writes)) truncateSync(writes)
    acknowledge(response)
  })
  server.listen(port, '127.0.0.1')
  setInterval(() => {
    const epoch = openFor(directory)
    if (epoch !== undefined) stamp(epoch)
  }, STAMP_EVERY)
}

function send(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

function readAll(request: IncomingMessage, done: (text: string) => void): void {
  const parts: Buffer[] = []
  request.on('data', (part: Buffer) => parts.push(part))
  request.on('end', () => done(Buffer.concat(parts).toString('utf8')))
}

if (process.argv[1] === import.meta.filename) {
  const lines = createInterface({ input: process.stdin })
  lines.on('line', (line) => serve(instanceSchema.parse(JSON.parse(line))))
  lines.on('close', () => process.exit(0))
}
