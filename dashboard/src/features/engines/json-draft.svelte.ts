import { messageOf } from '@understudy/shared/core/app-error'

/** JSON that somebody writes in a field, beside what the coordinator has: that shows until something is written. */
export class JsonDraft {
  readonly #given: () => unknown
  #text = $state.raw<string>()
  readonly #parsed = $derived.by(() => parse(this.text))

  constructor(given: () => unknown) {
    this.#given = given
  }

  get text(): string {
    return this.#text ?? this.#givenText
  }

  set text(text: string) {
    this.#text = text
  }

  /** Undefined when it is no JSON. */
  get value(): unknown {
    return this.#parsed.value
  }

  /** As an object, which is what a configuration is; undefined when it is something else. */
  get object(): Readonly<Record<string, unknown>> | undefined {
    const { value } = this
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Readonly<Record<string, unknown>>)
      : undefined
  }

  /** Why it is no JSON; undefined when it is. */
  get problem(): string | undefined {
    return this.#parsed.problem
  }

  /** It says something else than what is there. */
  get changed(): boolean {
    return this.value === undefined || JSON.stringify(this.value) !== JSON.stringify(this.#given())
  }

  /** Back to what is there. */
  reset(): void {
    this.#text = undefined
  }

  get #givenText(): string {
    return JSON.stringify(this.#given(), null, 2)
  }
}

function parse(text: string): { readonly value?: unknown; readonly problem?: string } {
  try {
    return { value: JSON.parse(text) }
  } catch (error) {
    return { problem: messageOf(error) }
  }
}
