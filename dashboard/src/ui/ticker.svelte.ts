import type { Clock, Millis, Mono } from '@understudy/shared/core/time'
import { createSubscriber } from 'svelte/reactivity'

/** The time, for what changes while one looks at it. It ticks only while something on the page reads it. */
export interface Ticker {
  readonly now: Mono
}

/** `period` is asked at every tick, since a reader may ask for less motion while the page is open. */
export function createTicker(clock: Clock, period: () => Millis): Ticker {
  const subscribe = createSubscriber((update) => {
    let cancel = () => {}
    const next = () => {
      cancel = clock.timer(period(), () => {
        update()
        next()
      })
    }
    next()
    return () => cancel()
  })
  return {
    get now() {
      subscribe()
      return clock.mono()
    },
  }
}
