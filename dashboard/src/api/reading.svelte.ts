import type { Clock, Millis, Mono } from '@understudy/shared/core/time'
import { untrack } from 'svelte'
import type { Answer, Failure } from './http.ts'

/** What was asked of the coordinator, and is asked again from time to time. What was read stays when a later try fails. */
export class Reading<T> {
  readonly #ask: () => Promise<Answer<T>>
  readonly #clock: Clock
  readonly #every: Millis | undefined
  #value = $state.raw<T>()
  #failure = $state.raw<Failure>()
  #readAt = $state.raw<Mono>()
  #asking = $state(0)
  #question = 0
  #cancel = () => {}

  constructor(ask: () => Promise<Answer<T>>, clock: Clock, every?: Millis) {
    this.#ask = ask
    this.#clock = clock
    this.#every = every
  }

  /** Undefined until it was read once. */
  get value(): T | undefined {
    return this.#value
  }

  /** Why the last try has failed; undefined when it has not. */
  get failure(): Failure | undefined {
    return this.#failure
  }

  /** When the value was read. */
  get readAt(): Mono | undefined {
    return this.#readAt
  }

  get asking(): boolean {
    return this.#asking > 0
  }

  /** For an effect: returns what ends it. */
  start(): () => void {
    // The effect is not to begin anew whenever something was read.
    untrack(() => void this.refresh())
    return () => {
      this.#question += 1
      this.#cancel()
    }
  }

  /** Asks now. An answer that a later question has overtaken is dropped. */
  async refresh(): Promise<void> {
    this.#cancel()
    this.#question += 1
    const question = this.#question
    this.#asking += 1
    const answer = await this.#ask()
    this.#asking -= 1
    if (question !== this.#question) return
    if (answer.ok) {
      this.#value = answer.body
      this.#failure = undefined
      this.#readAt = this.#clock.mono()
    } else this.#failure = answer
    if (this.#every !== undefined) this.#cancel = this.#clock.timer(this.#every, () => void this.refresh())
  }

  /** What a call that has changed it has answered. */
  put(value: T): void {
    this.#question += 1
    this.#value = value
    this.#failure = undefined
    this.#readAt = this.#clock.mono()
  }
}
