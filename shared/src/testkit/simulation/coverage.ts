/** What came up, and how often: by kind, then by which of that kind. */
export interface Coverage {
  hit(what: string, which?: string): void
  /** By `what which`. */
  counts(): ReadonlyMap<string, number>
}

/** Two levels, so that counting builds no strings. */
export function createCoverage(): Coverage {
  const kinds = new Map<string, Map<string, number>>()
  return {
    hit(what, which = '') {
      const counts = kinds.get(what) ?? new Map<string, number>()
      if (counts.size === 0) kinds.set(what, counts)
      counts.set(which, (counts.get(which) ?? 0) + 1)
    },
    counts: () =>
      new Map(
        [...kinds].flatMap(([what, counts]) =>
          [...counts].map(([which, count]) => [which === '' ? what : `${what} ${which}`, count]),
        ),
      ),
  }
}
