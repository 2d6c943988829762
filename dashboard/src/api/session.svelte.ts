import { type Clock, millis } from '@understudy/shared/core/time'
import type { Calls, Role, SessionAnswer } from './calls.ts'
import type { Failure } from './http.ts'

type SessionCalls = Pick<Calls, 'session' | 'signIn' | 'signOut'>

const ASK_AGAIN = millis(2000)

export type SessionState =
  | { readonly kind: 'asking' }
  | { readonly kind: 'unreachable'; readonly failure: Failure }
  | { readonly kind: 'needs-login' }
  | { readonly kind: 'signed-in'; readonly name: string; readonly role: Role }

/** Who is using the page. The cookie itself is out of reach of every script, this one included. */
export class Session {
  readonly #calls: SessionCalls
  readonly #clock: Clock
  #state = $state.raw<SessionState>({ kind: 'asking' })

  constructor(calls: SessionCalls, clock: Clock) {
    this.#calls = calls
    this.#clock = clock
  }

  get state(): SessionState {
    return this.#state
  }

  /** Why this person may not change anything; undefined when they may. */
  get blocked(): string | undefined {
    const state = this.#state
    if (state.kind !== 'signed-in') return 'You are not signed in.'
    return state.role === 'viewer' ? 'Your role is viewer: it may look, and change nothing.' : undefined
  }

  /** Without an answer what is known stays; where nothing is, it asks again until something is. */
  async ask(): Promise<void> {
    const answer = await this.#calls.session()
    if (answer.ok) return this.#take(answer.body)
    if (this.#state.kind !== 'asking' && this.#state.kind !== 'unreachable') return
    this.#state = { kind: 'unreachable', failure: answer }
    this.#clock.timer(ASK_AGAIN, () => void this.ask())
  }

  async signIn(token: string): Promise<Failure | undefined> {
    const answer = await this.#calls.signIn(token)
    if (!answer.ok) return answer
    this.#take(answer.body)
    return undefined
  }

  async signOut(): Promise<void> {
    const answer = await this.#calls.signOut()
    if (answer.ok) this.ended()
  }

  /** The coordinator does not know this session any more. */
  ended(): void {
    this.#state = { kind: 'needs-login' }
  }

  #take(answer: SessionAnswer): void {
    if (answer.needs_login) return this.ended()
    this.#state = { kind: 'signed-in', name: answer.name, role: answer.role }
  }
}
