import { type Clock, type Mono, millis, plus } from '@understudy/shared/core/time'
import type { Problem } from '@understudy/shared/protocol/problem'
import type { ReadingsMessage } from '@understudy/shared/protocol/readings'
import type { LiveSocket } from '../live/live.ts'
import { messagesOf } from './messages.ts'
import type { Version, Watched } from './watched.ts'

/** More waits at the coordinator rather than on its way: then it can still become one patch. */
const ENOUGH_ON_ITS_WAY = 64 * 1024
/** A page that does not read for this long is cut off. */
const TOO_SLOW = millis(30_000)
const STILL_AFTER = millis(5000)

interface Subscription {
  readonly id: number
  readonly watched: Watched
  /** The reading that its snapshot has to be of, or a later one: what was read before it came may be old. */
  readonly from: number
  seq: number
  seen: Version | undefined
  /** What it was told to have failed; undefined when all is well. */
  told: Problem | undefined
  /** It wants to hear of the reading with the number `of`. */
  wish: { readonly read: number; readonly of: number } | undefined
}

/** A frame before it is numbered. `value` and `change` are JSON already. */
type Next =
  | { readonly type: 'snapshot'; readonly path: string; readonly value: string }
  | { readonly type: 'patch'; readonly path?: string; readonly change: string }
  | { readonly type: 'failed'; readonly problem: Problem }
  | { readonly type: 'same' }

/** One page: what it watches, what it was told of each, and what can still be sent to it. */
export class Viewer {
  readonly #socket: LiveSocket
  readonly #clock: Clock
  readonly #subscriptions = new Map<number, Subscription>()
  #spokenAt: Mono
  #fullSince: Mono | undefined

  constructor(socket: LiveSocket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    this.#spokenAt = clock.mono()
  }

  get size(): number {
    return this.#subscriptions.size
  }

  has(id: number): boolean {
    return this.#subscriptions.has(id)
  }

  /** Begins anew where it is watched already. */
  watch(id: number, watched: Watched): void {
    this.leave(id)
    watched.viewers += 1
    const from = watched.touch()
    const none = { seen: undefined, told: undefined, wish: undefined }
    this.#subscriptions.set(id, { id, watched, from, seq: 0, ...none })
  }

  read(id: number, read: number): void {
    const one = this.#subscriptions.get(id)
    if (one) one.wish = { read, of: one.watched.touch() }
  }

  leave(id: number): void {
    const one = this.#subscriptions.get(id)
    if (!one) return
    one.watched.viewers -= 1
    this.#subscriptions.delete(id)
  }

  leaveAll(): void {
    for (const id of [...this.#subscriptions.keys()]) this.leave(id)
  }

  refuse(id: number | null, problem: Problem): void {
    this.#send({ type: 'refused', id, problem })
  }

  /** Tells what there is to tell, as far as the page reads. What it has not read yet becomes one patch. */
  pump(): 'fine' | 'too slow' {
    for (const one of this.#subscriptions.values())
      while (!this.#isFull() && this.has(one.id)) {
        const next = nextOf(one)
        if (!next) break
        this.#tell(one, next)
      }
    const now = this.#clock.mono()
    if (this.#isFull()) {
      this.#fullSince ??= now
      return now >= plus(this.#fullSince, TOO_SLOW) ? 'too slow' : 'fine'
    }
    this.#fullSince = undefined
    if (now >= plus(this.#spokenAt, STILL_AFTER)) this.#send({ type: 'still' })
    return 'fine'
  }

  #isFull(): boolean {
    return this.#socket.bufferedAmount > ENOUGH_ON_ITS_WAY
  }

  #tell(one: Subscription, next: Next): void {
    // It was asked for what cannot be answered, and never will be.
    if (next.type === 'failed' && next.problem.status === 400) {
      this.leave(one.id)
      return this.refuse(one.id, next.problem)
    }
    const read = answeredBy(one)
    if (read !== undefined) one.wish = undefined
    if (next.type === 'failed') one.told = next.problem
    else if (!one.watched.problem) one.told = undefined
    this.#sendText(textOf({ id: one.id, seq: one.seq, ...(read === undefined ? {} : { read }) }, next))
    one.seq += 1
  }

  #send(message: ReadingsMessage): void {
    this.#sendText(JSON.stringify(message))
  }

  #sendText(text: string): void {
    for (const message of messagesOf(text)) this.#socket.send(message)
    this.#spokenAt = this.#clock.mono()
  }
}

/** What a subscription has to be told next; undefined when it knows everything. It has seen the version that this has. */
function nextOf(one: Subscription): Next | undefined {
  const { watched, seen, told } = one
  const { latest, problem } = watched
  if (!watched.hasEnded(one.from)) return undefined
  if (latest && latest !== seen) {
    one.seen = latest
    const { path, text: value } = latest
    if (!seen) return { type: 'snapshot', path, value }
    const change = watched.changeSince(seen)
    return path === seen.path ? { type: 'patch', change } : { type: 'patch', path, change }
  }
  const asked = answeredBy(one) !== undefined
  if (problem) return problem === told && !asked ? undefined : { type: 'failed', problem }
  return told || asked ? { type: 'same' } : undefined
}

/** The request to read that was answered by what was read. */
const answeredBy = ({ wish, watched }: Subscription): number | undefined =>
  wish && watched.hasEnded(wish.of) ? wish.read : undefined

/** What is JSON already is not made again for each page. */
function textOf(
  numbered: { readonly id: number; readonly seq: number; readonly read?: number },
  next: Next,
): string {
  if (next.type === 'failed' || next.type === 'same') return JSON.stringify({ ...numbered, ...next })
  const { type } = next
  const head = { ...numbered, type, ...(next.path === undefined ? {} : { path: next.path }) }
  const body = type === 'snapshot' ? `"value":${next.value}` : `"change":${next.change}`
  return `${JSON.stringify(head).slice(0, -1)},${body}}`
}
