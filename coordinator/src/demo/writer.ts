import { Agent, request } from 'node:http'

/**
 * A client that keeps writing to one address and remembers every acknowledgement. It knows the address and nothing
 * else: what it reads back later is the judgement on the system.
 */
export interface Writer {
  /** Requests, not attempts: one that was tried ten times was retried once. */
  readonly counters: { sent: number; acked: number; retried: number; lost: number }
  /** Longest time between two acknowledgements since the last `mark`. */
  gap(): number
  mark(): void
  /**
   * When another process than before the mark first answered, UTC milliseconds. Waits for it; undefined when nobody
   * did in time.
   */
  takeover(withinMillis: number): Promise<number | undefined>
  /** Reads everything back. What is missing is counted once and then expected no more. */
  verify(): Promise<Verdict>
  /** Takes everything away that was written, whoever wrote it. */
  clear(): Promise<void>
  stop(): Promise<void>
}

export interface Verdict {
  /** Acknowledged up to the moment of reading. */
  readonly acked: number
  /** When each missing write had been acknowledged, UTC milliseconds. */
  readonly missing: readonly number[]
  readonly wrong: number
}

/** A request that gets no answer in this time is tried again. */
const TIMEOUT = 500
const RETRY_AFTER = 20
/** Each time after twice as long, up to this: all of them together still ask every few milliseconds. */
const RETRY_AFTER_MOST = 100
const MAX_OPEN = 64
/** Of a client that does not write. */
const READS_PER_SECOND = 100

/** `name` begins every key, so that no two clients of one store write the same. */
export function startWriter(
  port: number,
  perSecond: number,
  {
    name = 'w',
    readsPerSecond = READS_PER_SECOND,
  }: { name?: string; readsPerSecond?: number | undefined } = {},
): Writer {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  const acknowledged = new Map<string, { value: string; at: number }>()
  const counters = { sent: 0, acked: 0, retried: 0, lost: 0 }
  let next = 1
  let open = 0
  let stopped = false
  let lastAck = performance.now()
  let longest = 0
  let server: string | undefined
  let serverAtMark: string | undefined
  let takenOverAt: number | undefined

  const gap = () => Math.max(longest, performance.now() - lastAck)

  function onAnswer(servedBy: string | undefined): void {
    const now = performance.now()
    longest = Math.max(longest, now - lastAck)
    lastAck = now
    server = servedBy
    if (takenOverAt === undefined && serverAtMark !== undefined && servedBy !== serverAtMark)
      takenOverAt = Date.now()
  }

  /** One that fails is not tried again: the next comes soon. */
  async function look(): Promise<void> {
    open += 1
    await ask('GET', '/health')
    open -= 1
  }

  async function write(): Promise<void> {
    const key = `${name}-${next}`
    const value = `${next}:${'x'.repeat(80)}`
    next += 1
    open += 1
    counters.sent += 1
    for (let attempt = 1; !stopped; attempt += 1) {
      if (await ask('PUT', `/kv/${key}`, value)) {
        counters.acked += 1
        acknowledged.set(key, { value, at: Date.now() })
        break
      }
      if (attempt === 1) counters.retried += 1
      const wait = Math.min(RETRY_AFTER * 2 ** Math.min(attempt - 1, 10), RETRY_AFTER_MOST)
      await new Promise((resolve) => setTimeout(resolve, wait))
    }
    open -= 1
  }

  function ask(method: string, path: string, body?: string): Promise<boolean> {
    return new Promise((resolve) => {
      const outgoing = request(
        { host: '127.0.0.1', port, path, method, agent, timeout: TIMEOUT },
        (response) => {
          response.resume()
          response.on('end', () => {
            const isDone = response.statusCode === 200
            if (isDone) onAnswer(response.headers['x-served-by']?.toString())
            resolve(isDone)
          })
          response.on('error', () => resolve(false))
          response.on('close', () => resolve(false))
        },
      )
      outgoing.on('timeout', () => outgoing.destroy())
      outgoing.on('error', () => resolve(false))
      outgoing.end(body)
    })
  }

  async function verify(): Promise<Verdict> {
    const expected = [...acknowledged]
    const found = await untilRead(port)
    const missing: number[] = []
    let wrong = 0
    for (const [key, { value, at }] of expected) {
      const there = found.get(key)
      if (there === value) continue
      if (there === undefined) missing.push(at)
      else wrong += 1
      acknowledged.delete(key)
    }
    counters.lost += missing.length + wrong
    return { acked: expected.length, missing, wrong }
  }

  const rate = perSecond || readsPerSecond
  const begin = perSecond > 0 ? write : look
  const startedAt = performance.now()
  let begun = 0
  // A timer comes late under load: what is due is counted, so that the rate is kept.
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startedAt) * rate) / 1000)
    for (; begun < due; begun += 1) if (open < MAX_OPEN) void begin()
  }, 1000 / rate)

  return {
    counters,
    gap,
    mark() {
      longest = 0
      lastAck = performance.now()
      serverAtMark = server
      takenOverAt = undefined
    },
    async takeover(withinMillis) {
      const deadline = performance.now() + withinMillis
      while (takenOverAt === undefined && performance.now() < deadline)
        await new Promise((resolve) => setTimeout(resolve, 20))
      return takenOverAt
    },
    verify,
    async clear() {
      for (let tries = 0; tries < 500 && !(await ask('DELETE', '/kv')); tries += 1)
        await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER))
    },
    async stop() {
      stopped = true
      clearInterval(timer)
      agent.destroy()
    },
  }
}

/** The whole content, as soon as somebody answers. */
async function untilRead(port: number): Promise<ReadonlyMap<string, string>> {
  for (;;) {
    const text = await read(port)
    if (text !== undefined) return parseDump(text)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function parseDump(text: string): ReadonlyMap<string, string> {
  const lines = text.split('\n').filter((line) => line !== '')
  return new Map(lines.map((line) => JSON.parse(line) as [string, string]))
}

function read(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const outgoing = request(
      { host: '127.0.0.1', port, path: '/dump', agent: false, timeout: 10_000 },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => {
          text += part
        })
        // A workload that is frozen or not yet up may still answer, and has nothing to show.
        const isDump = response.statusCode === 200
        response.on('end', () => resolve(isDump && response.complete ? text : undefined))
        response.on('error', () => resolve(undefined))
      },
    )
    outgoing.on('timeout', () => outgoing.destroy())
    outgoing.on('error', () => resolve(undefined))
    outgoing.end()
  })
}
