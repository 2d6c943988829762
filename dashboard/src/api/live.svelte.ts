import { type Clock, type Instant, instant, type Mono, millis } from '@understudy/shared/core/time'
import type { Ticker } from '../ui/ticker.svelte.ts'
import { STALE_AFTER } from './live-feed.ts'
import { isEvent, type LivePicture } from './live-picture.ts'

/** Numbers change this often at most, so that they can be read; events are shown at once. */
const SHOW_EVERY = millis(500)

/** What the page shows of the fleet, and how fresh it is. */
export class Live {
  readonly #clock: Clock
  readonly #ticker: Ticker
  readonly #onShow: (before: LivePicture | undefined, after: LivePicture) => void
  #shown = $state.raw<LivePicture>()
  #tries = $state(0)
  #paused = $state(false)
  #freshAt = $state.raw<Mono>()
  #latest: { picture: LivePicture; heardAt: Mono } | undefined
  #cancelShow: (() => void) | undefined

  constructor(
    clock: Clock,
    ticker: Ticker,
    onShow: (before: LivePicture | undefined, after: LivePicture) => void = () => {},
  ) {
    this.#clock = clock
    this.#ticker = ticker
    this.#onShow = onShow
  }

  /** Undefined until the first snapshot. */
  get picture(): LivePicture | undefined {
    return this.#shown
  }

  /** How often a connection was tried since the last one worked; 0 while there is one. */
  get tries(): number {
    return this.#tries
  }

  get paused(): boolean {
    return this.#paused
  }

  /** How old what is shown is. */
  get ageMillis(): number {
    return this.#freshAt === undefined ? 0 : Math.max(0, this.#ticker.now - this.#freshAt)
  }

  /** Too old to act on. */
  get stale(): boolean {
    return this.#freshAt !== undefined && this.ageMillis >= STALE_AFTER
  }

  /**
   * The coordinator's wall clock now, whatever the clock of this machine says. It stands still when nothing is heard
   * any more, and so does everything that is measured by it.
   */
  serverTime(now: Mono): Instant {
    const latest = this.#latest
    if (!latest) return this.#clock.now()
    return instant(latest.picture.at + Math.min(Math.max(0, now - latest.heardAt), STALE_AFTER))
  }

  receive(picture: LivePicture, heardAt: Mono): void {
    const urgent = isEvent(this.#latest?.picture, picture)
    this.#latest = { picture, heardAt }
    this.#tries = 0
    if (this.#paused) return
    if (urgent) this.#show()
    else this.#cancelShow ??= this.#clock.timer(SHOW_EVERY, () => this.#show())
  }

  lost(tries: number): void {
    this.#tries = tries
  }

  pause(): void {
    this.#show()
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#show()
  }

  #show(): void {
    this.#cancelShow?.()
    this.#cancelShow = undefined
    if (!this.#latest) return
    const { picture, heardAt } = this.#latest
    const before = this.#shown
    this.#freshAt = heardAt
    if (picture === before) return
    this.#shown = picture
    this.#onShow(before, picture)
  }
}
