/** What is under way when the way of sending changes: it says nothing of the new one. */
const SKIPPED_BYTES = 8 * 1024 * 1024
/** One measurement. */
const MEASURED_BYTES = 16 * 1024 * 1024
/** After so many measurements of the better way the other one is tried again. */
const TRIED_EVERY = 16
const WEIGHT = 0.5

/**
 * Finds out whether a first copy arrives sooner compressed or as it is, by trying both: on a slow network the one, with
 * a slow processor the other. Changes that follow are always compressed: they are small, and bytes between zones cost.
 */
export interface BulkTrial {
  readonly compresses: boolean
  /** The replica has taken so many bytes of content more. */
  taken(bytes: number): void
}

/** `now` in milliseconds. */
export function createBulkTrial(now: () => number): BulkTrial {
  const rates = new Map<boolean, number>()
  let compresses = true
  let measurements = 0
  let skipping = SKIPPED_BYTES
  let bytes = 0
  let since: number | undefined

  const measured = (rate: number) => {
    const before = rates.get(compresses)
    rates.set(compresses, before === undefined ? rate : before * (1 - WEIGHT) + rate * WEIGHT)
    measurements += 1
    const plain = rates.get(false)
    const better = plain !== undefined && (rates.get(true) ?? 0) >= plain
    const next = measurements % TRIED_EVERY === 0 ? !better : better
    if (next !== compresses) skipping = SKIPPED_BYTES
    compresses = next
  }

  return {
    get compresses() {
      return compresses
    },
    taken(more) {
      if (skipping > 0) {
        skipping -= more
        if (skipping <= 0) since = now()
        return
      }
      bytes += more
      if (bytes < MEASURED_BYTES || since === undefined) return
      const took = Math.max(now() - since, 0.001)
      measured(bytes / took)
      bytes = 0
      since = now()
    },
  }
}
