import { type Clock, millis } from '@understudy/shared/core/time'
import type { Failure } from '../../api/http.ts'

/** Long enough to read a sentence, or to think better of it. Failures stay until they are dismissed. */
const NOTE_FOR = millis(10_000)
const ACTION_FOR = millis(30_000)

export interface Message {
  readonly text: string
  readonly failure?: Failure
  /** One thing that can be done about it. */
  readonly action?: { readonly label: string; readonly run: () => void }
}

/** What came of the last thing that somebody did. */
export class StatusLine {
  readonly #clock: Clock
  #cancel = () => {}
  #message = $state.raw<Message>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get message(): Message | undefined {
    return this.#message
  }

  say(message: Message): void {
    this.#cancel()
    this.#message = message
    if (message.failure === undefined)
      this.#cancel = this.#clock.timer(message.action ? ACTION_FOR : NOTE_FOR, () => this.clear())
  }

  clear(): void {
    this.#cancel()
    this.#message = undefined
  }
}
