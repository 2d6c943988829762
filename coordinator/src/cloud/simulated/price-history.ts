import type { MicroUsd } from '@understudy/shared/core/money'
import { type Instant, instant } from '@understudy/shared/core/time'

/** A pool costs this much from then on. EC2 says it in whole seconds. */
export interface PriceChange {
  readonly at: Instant
  readonly price: MicroUsd
}

/** Some three days of a demo, in which a minute of the market takes a second. */
const MOST_CHANGES = 5000

/** The changes of price of every pool, oldest first. Bounded: the oldest go first. */
export interface PriceHistory {
  note(poolId: string, at: Instant, price: MicroUsd): void
  /** Those after `from` and up to `to`, and the one that held at `from`. */
  between(poolId: string, from: Instant, to: Instant): readonly PriceChange[]
}

export function createPriceHistory(): PriceHistory {
  const pools = new Map<string, PriceChange[]>()
  return {
    note(id, now, price) {
      const changes = pools.get(id) ?? []
      if (changes.length === 0) pools.set(id, changes)
      const last = changes.at(-1)
      if (last?.price === price) return
      const at = instant(Math.floor(now / 1000) * 1000)
      if (last && last.at >= at) changes.pop()
      changes.push({ at: last && last.at > at ? last.at : at, price })
      if (changes.length > MOST_CHANGES) changes.splice(0, changes.length - MOST_CHANGES)
    },
    between(id, from, to) {
      const until = (pools.get(id) ?? []).filter(({ at }) => at <= to)
      const held = until.findLastIndex(({ at }) => at <= from)
      return until.slice(Math.max(0, held))
    },
  }
}
