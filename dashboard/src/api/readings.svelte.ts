import { applyJsonChange, type Json } from '@understudy/shared/core/json-change'
import type { Random } from '@understudy/shared/core/random'
import type { Clock, Mono } from '@understudy/shared/core/time'
import type {
  ReadingFrame,
  ReadingName,
  ReadingsMessage,
  ReadingsRequest,
  WatchRequest,
} from '@understudy/shared/protocol/readings'
import type { Ticker } from '../ui/ticker.svelte.ts'
import { failureOf } from './http.ts'
import { type LiveSocket, STALE_AFTER } from './live-feed.ts'
import type { Ear, Source } from './reading.svelte.ts'
import { retryWait } from './retry-wait.ts'

/** What is asked to be kept up to date. */
export interface Question<T> extends Omit<WatchRequest, 'type' | 'id'> {
  readonly name: ReadingName
  /** Of what its value is; never there. */
  readonly of?: T
}

/** The part of a WebSocket that is used. */
export type ReadingsSocket = LiveSocket & Pick<WebSocket, 'onopen' | 'send'>

export interface ReadingsPorts {
  readonly open: () => ReadingsSocket
  readonly clock: Clock
  readonly random: Random
  readonly ticker: Ticker
  /** The connection was lost or refused. */
  readonly onLost: () => void
}

interface Watched {
  readonly id: number
  readonly question: Question<unknown>
  readonly ear: Ear<Json>
  /** The last frame; undefined until the first one has come. */
  seq: number | undefined
  value: Json | undefined
  /** It is not watched: to read it is to watch it anew. */
  refused: boolean
  /** Waits until what was paused goes on. */
  held: boolean
  /** Who waits for the answer to a request to read. */
  waiting: { readonly read: number; readonly done: () => void }[]
}

/**
 * What the pages show of the API, over one WebSocket: each reading as a snapshot and what changes of it. A gap in the
 * frames of one lets it begin anew, silence and a lost connection all of them.
 */
export class Readings {
  readonly #ports: ReadingsPorts
  readonly #watched = new Map<number, Watched>()
  #socket: ReadingsSocket | undefined
  #ready = false
  #on = false
  #paused = false
  #tries = 0
  #counted = 0
  #part = ''
  #cancel = () => {}
  #size = $state(0)
  #heardAt = $state.raw<Mono>()

  constructor(ports: ReadingsPorts) {
    this.#ports = ports
  }

  /** What is shown of it is too old to act on. */
  get stale(): boolean {
    if (this.#size === 0 || this.#heardAt === undefined) return false
    return this.#ports.ticker.now - this.#heardAt >= STALE_AFTER
  }

  start(): void {
    this.#on = true
    this.retry()
  }

  stop(): void {
    this.#on = false
    this.#cancel()
    this.#drop()
    this.#heardAt = undefined
  }

  /** Does not wait any longer for the next try. */
  retry(): void {
    if (this.#on && !this.#socket) this.#connect()
  }

  /** While it is paused nothing that is shown changes, other than what was asked for. */
  pause(paused: boolean): void {
    this.#paused = paused
    if (paused) return
    for (const one of this.#watched.values()) if (one.held) this.#show(one)
  }

  /** For a `Reading`. */
  of<T>(question: Question<T>): Source<T> {
    return (ear) => {
      this.#counted += 1
      const id = this.#counted
      const none = { seq: undefined, value: undefined, refused: false, held: false, waiting: [] }
      const one: Watched = { id, question, ear: ear as Ear<unknown> as Ear<Json>, ...none }
      this.#watched.set(id, one)
      this.#size = this.#watched.size
      this.#heardAt ??= this.#ports.clock.mono()
      if (this.#ready) this.#watch(one)
      return {
        read: () => this.#read(one),
        end: () => {
          this.#watched.delete(id)
          this.#size = this.#watched.size
          settle(one)
          this.#say({ type: 'leave', id })
        },
      }
    }
  }

  #connect(): void {
    const mine = this.#ports.open()
    this.#socket = mine
    mine.onopen = () => {
      if (mine !== this.#socket) return
      this.#ready = true
      for (const one of this.#watched.values()) this.#watch(one)
    }
    mine.onmessage = ({ data }) => mine === this.#socket && this.#receive(String(data))
    mine.onclose = () => mine === this.#socket && this.#lost()
    this.#listen()
  }

  /** Silence is a lost connection. */
  #listen(): void {
    this.#cancel()
    this.#cancel = this.#ports.clock.timer(STALE_AFTER, () => this.#lost())
  }

  #lost(): void {
    this.#drop()
    this.#tries += 1
    this.#ports.onLost()
    // Whoever is asked may find that nobody is signed in.
    if (!this.#on) return
    const { clock, random } = this.#ports
    this.#cancel = clock.timer(retryWait(this.#tries, random), () => this.#connect())
  }

  #drop(): void {
    const old = this.#socket
    this.#cancel()
    this.#socket = undefined
    this.#ready = false
    this.#part = ''
    for (const one of this.#watched.values()) settle(one)
    old?.close()
  }

  /** What was asked of it before is not answered any more. */
  #watch(one: Watched): void {
    settle(one)
    one.seq = undefined
    one.refused = false
    const { name, params, query, hours } = one.question
    this.#say({
      ...{ type: 'watch', id: one.id, name },
      ...(params && { params }),
      ...(query && { query }),
      ...(hours && { hours }),
    })
  }

  #read(one: Watched): Promise<void> {
    if (!this.#ready || !this.#watched.has(one.id)) return Promise.resolve()
    return new Promise((done) => {
      if (one.refused) {
        this.#watch(one)
        one.waiting.push({ read: 0, done })
        return
      }
      this.#counted += 1
      one.waiting.push({ read: this.#counted, done })
      this.#say({ type: 'read', id: one.id, read: this.#counted })
    })
  }

  #say(request: ReadingsRequest): void {
    if (this.#ready) this.#socket?.send(JSON.stringify(request))
  }

  #receive(text: string): void {
    this.#tries = 0
    this.#heardAt = this.#ports.clock.mono()
    this.#listen()
    this.#understand(JSON.parse(text) as ReadingsMessage)
    // Whatever was said: what was not said to have changed has not.
    for (const { ear, held } of this.#watched.values()) if (!held) ear.still()
  }

  #understand(message: ReadingsMessage): void {
    if (message.type === 'still') return
    if (message.type !== 'part') return this.#take(message)
    this.#part += message.text
    if (message.more) return
    const whole = this.#part
    this.#part = ''
    this.#take(JSON.parse(whole) as ReadingFrame)
  }

  #take(frame: ReadingFrame): void {
    const one = this.#watched.get(frame.id ?? 0)
    if (!one) return
    if (frame.type === 'refused') {
      one.refused = true
      settle(one)
      return one.ear.failed(failureOf(frame.problem.status, frame.problem))
    }
    // Of before it began anew.
    if (one.seq === undefined && frame.seq !== 0) return
    if (one.seq !== undefined && frame.seq !== one.seq + 1) return this.#watch(one)
    one.seq = frame.seq
    if (frame.type === 'failed') one.ear.failed(failureOf(frame.problem.status, frame.problem))
    else if (frame.type === 'same') one.ear.same()
    else this.#change(one, frame)
    settle(one, frame.read ?? 0)
  }

  #change(one: Watched, frame: Extract<ReadingFrame, { type: 'snapshot' | 'patch' }>): void {
    const isFirst = one.value === undefined
    one.value = frame.type === 'snapshot' ? frame.value : applyJsonChange(one.value ?? null, frame.change)
    if (this.#paused && !isFirst && frame.read === undefined) one.held = true
    else this.#show(one)
  }

  #show(one: Watched): void {
    one.held = false
    if (one.value !== undefined) one.ear.value(one.value)
  }
}

/** Those that were answered; all of them where nothing will be. */
function settle(one: Watched, upTo = Number.POSITIVE_INFINITY): void {
  const answered = one.waiting.filter(({ read }) => read <= upTo)
  one.waiting = one.waiting.filter(({ read }) => read > upTo)
  for (const { done } of answered) done()
}
