import { AppError, isAppError } from '@understudy/shared/core/app-error'
import type { Clock, Mono } from '@understudy/shared/core/time'
import { toProblem } from '@understudy/shared/protocol/problem'
import { type ReadingsRequest, readingsRequestSchema } from '@understudy/shared/protocol/readings'
import { assertRole, invalidInput, type Principal } from '../http/http.ts'
import { type LiveSocket, SIGNED_OUT, whileAllowed } from '../live/live.ts'
import { type Question, questionOf } from './question.ts'
import { Viewer } from './viewer.ts'
import type { Watched } from './watched.ts'

/** The longest request that means anything has a query of ten long words. */
const MAX_CHARACTERS = 4096
/** More than the page that shows most has. */
const MAX_SUBSCRIPTIONS = 40
/** What a page may ask at once, and how fast that comes back. */
const BURST = 200
const PER_SECOND = 10

export type Cut = 'slow' | 'signed-out' | 'messages'

/** Who is at the other end, and who that is a while later. */
export interface Caller {
  readonly principal: Principal | undefined
  whoNow(): Promise<Principal | undefined>
}

/** One connection of one page: what it may ask, and when it has to go. */
export class ReadingSession {
  readonly #socket: LiveSocket
  readonly #clock: Clock
  readonly #watchedOf: (question: Question) => Watched
  readonly #onCut: (session: ReadingSession, why: Cut) => void
  readonly #viewer: Viewer
  readonly #stopLooking: () => void
  #principal: Principal | undefined
  #left = BURST
  #leftAt: Mono
  #closed = false

  constructor(parts: {
    readonly socket: LiveSocket
    readonly clock: Clock
    readonly caller: Caller
    readonly watchedOf: (question: Question) => Watched
    readonly onCut: (session: ReadingSession, why: Cut) => void
  }) {
    this.#socket = parts.socket
    this.#clock = parts.clock
    this.#watchedOf = parts.watchedOf
    this.#onCut = parts.onCut
    this.#viewer = new Viewer(parts.socket, parts.clock)
    this.#principal = parts.caller.principal
    this.#leftAt = parts.clock.mono()
    this.#stopLooking = whileAllowed({
      clock: parts.clock,
      role: 'viewer',
      whoNow: () => parts.caller.whoNow(),
      onStill: (principal) => {
        this.#principal = principal
      },
      onEnd: () => this.#cut('signed-out', SIGNED_OUT, 'signed out'),
    })
  }

  /** What cannot be done is answered; only who floods is cut off. */
  receive(text: string): void {
    if (this.#closed) return
    if (text.length > MAX_CHARACTERS || !this.#mayAsk())
      return this.#cut('messages', 1008, 'too much is asked')
    const message = parseJson(text)
    const parsed = readingsRequestSchema.safeParse(message)
    try {
      if (!parsed.success) throw invalidInput(parsed.error, 'message')
      this.#take(parsed.data)
    } catch (error) {
      if (!isAppError(error)) throw error
      this.#viewer.refuse(parsed.data?.id ?? idOf(message), toProblem(error))
    }
  }

  /** Tells what there is to tell. */
  pump(): void {
    if (this.#closed) return
    if (this.#viewer.pump() === 'too slow') this.#cut('slow', 1013, 'too slow')
  }

  closed(): void {
    this.#closed = true
    this.#stopLooking()
    this.#viewer.leaveAll()
  }

  #take(request: ReadingsRequest): void {
    if (request.type === 'leave') return this.#viewer.leave(request.id)
    if (request.type === 'read') return this.#viewer.read(request.id, request.read)
    if (!this.#viewer.has(request.id) && this.#viewer.size >= MAX_SUBSCRIPTIONS)
      throw new AppError('input_invalid', `a page watches at most ${MAX_SUBSCRIPTIONS} readings at once`)
    const question = questionOf(request)
    assertRole(this.#principal, question.kind.role)
    this.#viewer.watch(request.id, this.#watchedOf(question))
  }

  #mayAsk(): boolean {
    const now = this.#clock.mono()
    this.#left = Math.min(BURST, this.#left + ((now - this.#leftAt) / 1000) * PER_SECOND)
    this.#leftAt = now
    this.#left -= 1
    return this.#left >= 0
  }

  #cut(why: Cut, code: number, reason: string): void {
    if (this.#closed) return
    this.closed()
    this.#socket.close(code, reason)
    this.#onCut(this, why)
  }
}

const idOf = (message: unknown): number | null =>
  typeof message === 'object' && message !== null && 'id' in message && Number.isSafeInteger(message.id)
    ? (message.id as number)
    : null

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
