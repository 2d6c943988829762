/** Discrete events in order of time, then of insertion: the heart of every simulation here. A binary heap. */
export interface EventQueue {
  at(time: number, run: () => void): void
  /** Runs the next event; false when there is none at or before `until`. */
  step(until: number): boolean
  readonly now: number
}

export function createEventQueue(): EventQueue {
  const heap: { time: number; order: number; run: () => void }[] = []
  let now = 0
  let order = 0
  const before = (a: number, b: number): boolean => {
    const x = heap[a]
    const y = heap[b]
    if (!x || !y) return false
    return x.time < y.time || (x.time === y.time && x.order < y.order)
  }
  const swap = (a: number, b: number): void => {
    const x = heap[a]
    const y = heap[b]
    if (x && y) [heap[a], heap[b]] = [y, x]
  }
  const sink = (start: number): void => {
    for (let index = start; ; ) {
      let least = index
      for (const child of [2 * index + 1, 2 * index + 2]) if (before(child, least)) least = child
      if (least === index) return
      swap(index, least)
      index = least
    }
  }
  return {
    at(time, run) {
      heap.push({ time: Math.max(time, now), order: order++, run })
      for (let index = heap.length - 1; index > 0; ) {
        const parent = (index - 1) >> 1
        if (!before(index, parent)) break
        swap(index, parent)
        index = parent
      }
    },
    step(until) {
      const first = heap[0]
      if (!first || first.time > until) return false
      const last = heap.pop()
      if (last && heap.length > 0) {
        heap[0] = last
        sink(0)
      }
      now = first.time
      first.run()
      return true
    },
    get now() {
      return now
    },
  }
}
