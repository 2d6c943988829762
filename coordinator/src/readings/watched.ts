import { type Json, jsonChange } from '@understudy/shared/core/json-change'
import { type Clock, type Mono, millis, mono, plus } from '@understudy/shared/core/time'
import type { Problem } from '@understudy/shared/protocol/problem'
import type { Question } from './question.ts'

/** Five times a second are as often as a person can read. */
const SOONEST = millis(200)
/** What could not be read is left alone for a while, unless something has happened. */
const AFTER_FAILURE = millis(5000)

/** What was read: a new one for each change. */
export interface Version {
  readonly path: string
  readonly text: string
  readonly value: Json
}

/** What came of a reading. */
export type Outcome =
  | { readonly path: string; readonly text: string }
  | { readonly path: string; readonly problem: Problem }

/** One question, for all who ask it: when it is to be read, and what was read last. */
export class Watched {
  readonly question: Question
  readonly #clock: Clock
  #latest: Version | undefined
  #problem: Problem | undefined
  #patch: { readonly of: Version; readonly text: string } | undefined
  #begun = 0
  #ended = 0
  #reading = false
  #touched = true
  #begunAt: Mono | undefined
  #endedAt: Mono = mono(0)
  /** How many look at it. */
  viewers = 0

  constructor(question: Question, clock: Clock) {
    this.question = question
    this.#clock = clock
  }

  /** Undefined until it was read once. */
  get latest(): Version | undefined {
    return this.#latest
  }

  /** Why the last reading has failed; undefined when it has not. */
  get problem(): Problem | undefined {
    return this.#problem
  }

  /** It may have changed. Returns the number of the reading that will have seen that. */
  touch(): number {
    this.#touched = true
    return this.#begun + 1
  }

  /** Whether the reading with this number has ended. */
  hasEnded(number: number): boolean {
    return this.#ended >= number
  }

  /** When it is to be read, unless it is touched; undefined while it is read. */
  dueAt(): Mono | undefined {
    if (this.#reading) return undefined
    if (this.#begunAt === undefined) return mono(0)
    if (this.#touched) return plus(this.#begunAt, SOONEST)
    const { every } = this.question.kind
    const pause = this.#problem && every < AFTER_FAILURE ? AFTER_FAILURE : every
    return plus(this.#endedAt, pause)
  }

  begin(): string {
    this.#begun += 1
    this.#reading = true
    this.#touched = false
    this.#begunAt = this.#clock.mono()
    return this.question.pathAt(this.#clock.now())
  }

  /** Returns what it has brought. */
  end(outcome: Outcome): 'changed' | 'same' | 'failed' {
    this.#reading = false
    this.#ended = this.#begun
    this.#endedAt = this.#clock.mono()
    if ('problem' in outcome) {
      // The same one again is not news.
      if (JSON.stringify(outcome.problem) !== JSON.stringify(this.#problem)) this.#problem = outcome.problem
      return 'failed'
    }
    this.#problem = undefined
    const { path, text } = outcome
    if (this.#latest?.text === text) return 'same'
    this.#latest = { path, text, value: JSON.parse(text) as Json }
    this.#patch = undefined
    return 'changed'
  }

  /** What makes the latest version of one that a viewer has, as JSON; made once for all who have the one before. */
  changeSince(seen: Version): string {
    if (this.#patch?.of !== seen) {
      const change = jsonChange(seen.value, this.#latest?.value ?? null) ?? { keys: {} }
      this.#patch = { of: seen, text: JSON.stringify(change) }
    }
    return this.#patch.text
  }
}
