import type { Answer, Failure } from '../../api/http.ts'
import type { StatusLine } from './status-line.svelte.ts'

/** Something that is asked for in an open dialog, or by a button: under way, refused, or done and told. */
export class Asking {
  readonly #line: StatusLine
  #busy = $state(false)
  #failure = $state.raw<Failure>()

  constructor(line: StatusLine) {
    this.#line = line
  }

  get busy(): boolean {
    return this.#busy
  }

  get failure(): Failure | undefined {
    return this.#failure
  }

  /** Shows the failure where it was asked for; says what came of it in the status line. */
  async ask<T>(call: Promise<Answer<T>>, said: (body: T) => string): Promise<T | undefined> {
    const answer = await this.#settle(call)
    if (!answer?.ok) return undefined
    this.#line.say({ text: said(answer.body) })
    return answer.body
  }

  /** The same of something that changes nothing: there is nothing to say when it is there. */
  async look<T>(call: Promise<Answer<T>>): Promise<T | undefined> {
    const answer = await this.#settle(call)
    return answer?.ok ? answer.body : undefined
  }

  /** Undefined: another is under way. */
  async #settle<T>(call: Promise<Answer<T>>): Promise<Answer<T> | undefined> {
    if (this.#busy) return undefined
    this.#busy = true
    this.#failure = undefined
    const answer = await call
    this.#busy = false
    if (!answer.ok) this.#failure = answer
    return answer
  }

  /** For a button without a dialog: the status line says both. `failed` is a sentence with "could not be". */
  async tell<T>(call: Promise<Answer<T>>, said: (body: T) => string, failed: string): Promise<T | undefined> {
    const body = await this.ask(call, said)
    const failure = this.#failure
    if (failure) {
      const text =
        failure.kind === 'unknown' ? failed.replace('could not be', 'may or may not have been') : failed
      this.#line.say({ text, failure })
    }
    return body
  }

  forget(): void {
    this.#failure = undefined
  }
}
