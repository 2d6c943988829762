import type { Report } from '@understudy/shared/protocol/link'

/** More facts than this are never kept for a coordinator that is away. */
const CAPACITY = 1000

/**
 * Reports that the coordinator has not acknowledged. Bounded: when it is full the oldest step of an incident goes
 * first, because it only explains, and then the oldest of the others.
 */
export interface Outbox {
  readonly size: number
  readonly dropped: number
  add(report: Report): { id: number; body: Report }
  acknowledge(id: number): void
  /** Everything unacknowledged, in order: what a new connection begins with. */
  pending(): readonly { id: number; body: Report }[]
}

export function createOutbox(capacity = CAPACITY): Outbox {
  const entries = new Map<number, Report>()
  let next = 1
  let dropped = 0

  const makeRoom = () => {
    if (entries.size < capacity) return
    const step = [...entries].find(([, body]) => body.kind === 'step')
    const victim = step ?? [...entries][0]
    if (!victim) return
    entries.delete(victim[0])
    dropped += 1
  }

  return {
    get size() {
      return entries.size
    },
    get dropped() {
      return dropped
    },
    add(report) {
      makeRoom()
      const id = next
      next += 1
      entries.set(id, report)
      return { id, body: report }
    },
    acknowledge: (id) => {
      entries.delete(id)
    },
    pending: () => [...entries].map(([id, body]) => ({ id, body })),
  }
}
