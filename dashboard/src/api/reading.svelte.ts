import { type Clock, type Mono, seconds } from '@understudy/shared/core/time'
import { untrack } from 'svelte'
import type { Answer, Failure } from './http.ts'

/** That it is still so is noted this often at most: ages are shown in minutes. */
const NOTED_EVERY = seconds(30)

/** Who hears what was read. */
export interface Ear<T> {
  value(value: T): void
  /** It was read, and is as it was. */
  same(): void
  /** What was told of it last, good or bad, still holds. */
  still(): void
  /** What was read before stays. */
  failed(failure: Failure): void
}

export interface Listening {
  /** Resolves once what a reading from now on has brought was told. */
  read(): Promise<void>
  end(): void
}

/** Where it comes from: it begins to be read when it is listened to. */
export type Source<T> = (ear: Ear<T>) => Listening

/** A call that is made once, and again only on request. An answer that a later question has overtaken is dropped. */
export function asked<T>(ask: () => Promise<Answer<T>>): Source<T> {
  return (ear) => {
    let question = 0
    async function read(): Promise<void> {
      question += 1
      const mine = question
      const answer = await ask()
      if (mine !== question) return
      if (answer.ok) ear.value(answer.body)
      else ear.failed(answer)
    }
    void read()
    return {
      read,
      end() {
        question += 1
      },
    }
  }
}

/** Something that is read of the coordinator. What was read stays when a later try fails. */
export class Reading<T> {
  readonly #source: Source<T>
  readonly #clock: Clock
  #listening: Listening | undefined
  #value = $state.raw<T>()
  #failure = $state.raw<Failure>()
  #readAt = $state.raw<Mono>()
  #asking = $state(0)

  constructor(source: Source<T>, clock: Clock) {
    this.#source = source
    this.#clock = clock
  }

  /** Undefined until it was read once. */
  get value(): T | undefined {
    return this.#value
  }

  /** Why the last try has failed; undefined when it has not. */
  get failure(): Failure | undefined {
    return this.#failure
  }

  /** When the value was last known to be so, within half a minute. */
  get readAt(): Mono | undefined {
    return this.#readAt
  }

  get asking(): boolean {
    return this.#asking > 0
  }

  /** For an effect: returns what ends it. */
  start(): () => void {
    // The effect is not to begin anew whenever something was read.
    const mine = untrack(() =>
      this.#source({
        value: (value) => this.#take(value),
        same: () => {
          this.#failure = undefined
          this.#note()
        },
        still: () => this.#failure === undefined && this.#note(),
        failed: (failure) => {
          this.#failure = failure
        },
      }),
    )
    this.#listening = mine
    return () => mine.end()
  }

  /** Reads it now. */
  async refresh(): Promise<void> {
    this.#asking += 1
    await this.#listening?.read()
    this.#asking -= 1
  }

  #take(value: T): void {
    this.#value = value
    this.#failure = undefined
    this.#readAt = this.#clock.mono()
  }

  #note(): void {
    const now = this.#clock.mono()
    if (this.#readAt !== undefined && now - this.#readAt >= NOTED_EVERY) this.#readAt = now
  }
}
