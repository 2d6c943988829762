import { type Clock, type Millis, millis } from '@understudy/shared/core/time'
import type { FailoverResponse } from '@understudy/shared/protocol/failover'
import type { PromotionPlan } from '@understudy/shared/protocol/replicas'
import type { Calls, PromoteWish } from '../../api/calls.ts'
import type { Answer, Failure } from '../../api/http.ts'
import { materialChanges } from './promotion-facts.ts'

/** While the dialog is open the facts are asked for again this often. */
const REFRESH: Millis = millis(2000)

/**
 * - `deciding`: the facts are shown and kept fresh.
 * - `sending`: the wish is on its way; it goes on whatever becomes of the page.
 * - `unknown`: nobody has said how it ended. The same wish, with the same key, may be sent again.
 */
export type PromotePhase = 'deciding' | 'sending' | 'unknown'

export interface PromotePorts<T> {
  readonly calls: Pick<Calls, 'plan'> & { promote(wish: PromoteWish): Promise<Answer<T>> }
  readonly clock: Clock
  readonly newKey: () => string
  readonly agentId: string
  readonly replicaId: string
  /** What came of the wish. It may come long after `close`. */
  readonly onAnswer: (answer: Answer<T>) => void
}

/** One decision about one promotion, or one drill, from the first look at the facts to the answer. */
export class PromoteFlow<T = FailoverResponse> {
  readonly #ports: PromotePorts<T>
  #plan = $state.raw<PromotionPlan>()
  /** What the person in front of the page has had the time to read. */
  #read = $state.raw<PromotionPlan>()
  #failure = $state.raw<Failure>()
  #phase = $state<PromotePhase>('deciding')
  #keepOld = $state(true)
  #key = ''
  #cancel = () => {}
  #closed = false

  constructor(ports: PromotePorts<T>) {
    this.#ports = ports
  }

  get plan(): PromotionPlan | undefined {
    return this.#plan
  }

  get phase(): PromotePhase {
    return this.#phase
  }

  /** Of the last call that did not go as it should. */
  get failure(): Failure | undefined {
    return this.#failure
  }

  /** What is different from what was read; empty when nothing is. */
  get changes(): readonly string[] {
    return this.#plan && this.#read ? materialChanges(this.#read, this.#plan) : []
  }

  get keepOld(): boolean {
    return this.#keepOld
  }

  set keepOld(keep: boolean) {
    this.#keepOld = keep
  }

  /** Why it cannot be confirmed now; undefined when it can. */
  get blocked(): string | undefined {
    if (this.#phase === 'sending') return 'It is under way.'
    if (!this.#plan) return 'The facts have not been read yet.'
    if (this.changes.length > 0) return 'The facts have changed: read them first.'
    if (!this.#plan.possible) return this.#plan.reason
    return undefined
  }

  /** Reads the facts and keeps them fresh until `close`. */
  async open(): Promise<void> {
    await this.#refresh()
    if (!this.#closed) this.#cancel = this.#ports.clock.timer(REFRESH, () => void this.open())
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }

  accept(): void {
    this.#read = this.#plan
    this.#failure = undefined
  }

  async confirm(): Promise<void> {
    const { calls, agentId, replicaId, newKey, onAnswer } = this.#ports
    if (this.blocked !== undefined || !this.#read) return
    // After an unknown outcome it is still the same wish, so a move that has begun is not begun again.
    if (this.#phase !== 'unknown') this.#key = newKey()
    this.#phase = 'sending'
    this.#failure = undefined
    const answer = await calls.promote({
      agentId,
      replicaId,
      expectedEpoch: this.#read.epoch,
      keepOld: this.#keepOld,
      key: this.#key,
    })
    onAnswer(answer)
    if (answer.ok) return
    this.#failure = answer
    this.#phase = answer.kind === 'unknown' ? 'unknown' : 'deciding'
    // A refusal says that the facts are not what they were.
    if (answer.kind === 'refused') await this.#refresh()
  }

  async #refresh(): Promise<void> {
    if (this.#phase !== 'deciding') return
    const { calls, agentId, replicaId } = this.#ports
    const answer = await calls.plan(agentId, replicaId)
    if (this.#closed || this.#phase !== 'deciding') return
    if (!answer.ok) {
      if (!this.#plan) this.#failure = answer
      return
    }
    this.#plan = answer.body
    this.#read ??= answer.body
  }
}
