/** Discrete events in order of time, then of insertion: the heart of every simulation here. A binary heap. */
export interface EventQueue {
  at(time: number, run: () => void): void
  /** Runs the next event; false when there is none at or before `until`. */
  step(until: number): boolean
  readonly now: number
}

interface Entry {
  readonly time: number
  readonly order: number
  readonly run: () => void
}

export function createEventQueue(): EventQueue {
  const heap: Entry[] = []
  let order = 0

  /** The entry is put where it belongs, from the end towards the top. */
  function rise(entry: Entry): void {
    let index = heap.length
    heap.push(entry)
    while (index > 0) {
      const above = (index - 1) >> 1
      const parent = heap[above] as Entry
      if (!isBefore(entry, parent)) break
      heap[index] = parent
      index = above
    }
    heap[index] = entry
  }

  /** The same, from the top towards the end. */
  function sink(entry: Entry): void {
    const half = heap.length >> 1
    let index = 0
    while (index < half) {
      let below = 2 * index + 1
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Entry, heap[below] as Entry)) below += 1
      const child = heap[below] as Entry
      if (!isBefore(child, entry)) break
      heap[index] = child
      index = below
    }
    heap[index] = entry
  }

  const queue = {
    now: 0,
    at(time: number, run: () => void) {
      rise({ time: Math.max(time, queue.now), order: order++, run })
    },
    step(until: number) {
      const first = heap[0]
      if (!first || first.time > until) return false
      const last = heap.pop() as Entry
      if (heap.length > 0) sink(last)
      queue.now = first.time
      first.run()
      return true
    },
  }
  return queue
}

const isBefore = (a: Entry, b: Entry): boolean => a.time < b.time || (a.time === b.time && a.order < b.order)
