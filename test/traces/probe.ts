import { Agent, request } from 'node:http'
import type { Span } from './schedule.ts'

const EVERY = 50
const TIMEOUT = 500
/** Of requests that have no answer yet. */
const MOST_OPEN = 16

/** A client that asks the address twenty times a second and knows nothing else of the system. */
export interface Probe {
  /** The instance that answered last. */
  last(): string | undefined
  /** Every instance that has answered. */
  readonly servedBy: ReadonlySet<string>
  /** From now on silences are counted, in seconds from here. */
  begin(): void
  /** Ends it: longer silences than `least` seconds, from the last answer before to the first after. */
  end(least: number): readonly Span[]
}

export function startProbe(port: number): Probe {
  const agent = new Agent({ keepAlive: true, maxSockets: MOST_OPEN })
  const servedBy = new Set<string>()
  let answers: number[] = []
  let beganAt = performance.now()
  let current: string | undefined
  let open = 0

  function ask(): void {
    if (open >= MOST_OPEN) return
    open += 1
    const outgoing = request(
      { host: '127.0.0.1', port, path: '/health', agent, timeout: TIMEOUT },
      (response) => {
        response.resume()
        response.on('error', () => undefined)
        if (response.statusCode !== 200) return
        answers.push((performance.now() - beganAt) / 1000)
        current = response.headers['x-served-by']?.toString().split('/')[0]
        if (current !== undefined) servedBy.add(current)
      },
    )
    outgoing.on('timeout', () => outgoing.destroy())
    outgoing.on('error', () => undefined)
    outgoing.once('close', () => {
      open -= 1
    })
    outgoing.end()
  }
  const timer = setInterval(ask, EVERY)

  return {
    servedBy,
    last: () => current,
    begin() {
      beganAt = performance.now()
      answers = []
    },
    end(least) {
      clearInterval(timer)
      agent.destroy()
      const marks = [0, ...answers, (performance.now() - beganAt) / 1000]
      return marks
        .slice(1)
        .map((to, index): Span => [marks[index] ?? 0, to])
        .filter(([from, to]) => to - from >= least)
    },
  }
}
