import type { CycleView, DecisionFrame, DecisionView } from '@understudy/shared/protocol/decision-log'
import type { DecisionCalls, DecisionFilter } from '../../api/decision-calls.ts'
import type { Failure } from '../../api/http.ts'

/** So many are kept in memory; the oldest go first. */
const KEPT = 5000

/**
 * Decisions, the latest first: pages of the past, and each new one as it is made. While somebody reads, new ones wait and
 * are counted. A second snapshot comes after a lost connection: what was made meanwhile, and what came of it, may be missing,
 * so that the list begins anew.
 */
export class DecisionLog {
  readonly #calls: Pick<DecisionCalls, 'list'>
  readonly #filter: DecisionFilter
  #all: readonly DecisionView[] = []
  /** How often it has begun. */
  #era = 0
  #heard = false
  #shown = $state.raw<readonly DecisionView[]>([])
  #waiting = $state(0)
  #held = $state(false)
  #next = $state.raw<string | null | undefined>(undefined)
  #failure = $state.raw<Failure>()
  #reading = $state(false)
  #cycle = $state.raw<CycleView>()

  constructor(calls: Pick<DecisionCalls, 'list'>, filter: DecisionFilter) {
    this.#calls = calls
    this.#filter = filter
  }

  get shown(): readonly DecisionView[] {
    return this.#shown
  }

  /** New ones that wait until the list goes on. */
  get waiting(): number {
    return this.#waiting
  }

  get held(): boolean {
    return this.#held
  }

  get failure(): Failure | undefined {
    return this.#failure
  }

  get reading(): boolean {
    return this.#reading
  }

  /** Nothing has been read yet. */
  get fresh(): boolean {
    return this.#next === undefined
  }

  get hasMore(): boolean {
    return typeof this.#next === 'string'
  }

  /** The last cycle since the page was opened. */
  get cycle(): CycleView | undefined {
    return this.#cycle
  }

  async readMore(): Promise<void> {
    if (this.#reading || this.#next === null) return
    this.#reading = true
    const era = this.#era
    const answer = await this.#calls.list(this.#filter, this.#next)
    this.#reading = false
    if (era !== this.#era) return this.readMore()
    this.#failure = answer.ok ? undefined : answer
    if (!answer.ok) return
    this.#next = answer.body.next
    const known = new Set(this.#all.map(({ id }) => id))
    this.#all = [...this.#all, ...answer.body.items.filter(({ id }) => !known.has(id))].sort(latestFirst)
    // What was asked for is shown at once; what came by itself goes on waiting.
    const added = new Set(answer.body.items.map(({ id }) => id))
    const before = new Set(this.#shown.map(({ id }) => id))
    this.#shown = this.#held ? this.#all.filter(({ id }) => added.has(id) || before.has(id)) : this.#all
    this.#count()
  }

  receive(frame: DecisionFrame): void {
    switch (frame.type) {
      case 'snapshot':
        if (this.#heard) this.#begin()
        this.#heard = true
        return this.#take(frame.items)
      case 'decisions':
        return this.#take(frame.items)
      case 'result': {
        const withResult = (item: DecisionView) =>
          item.id === frame.decision_id ? { ...item, result: frame.result } : item
        this.#all = this.#all.map(withResult)
        // It changes a line and moves none: it need not wait.
        this.#shown = this.#shown.map(withResult)
        return
      }
      case 'cycle':
        this.#cycle = frame.cycle
    }
  }

  hold(): void {
    this.#held = true
  }

  release(): void {
    this.#held = false
    this.#shown = this.#all
    this.#waiting = 0
    if (this.#era > 0 && this.fresh) void this.readMore()
  }

  /** Who reads keeps what is shown; the past is read again once the list goes on. */
  #begin(): void {
    this.#era += 1
    this.#all = []
    this.#next = undefined
    if (this.#held) return
    this.#shown = []
    void this.readMore()
  }

  #take(came: readonly DecisionView[]): void {
    const items = came.filter((item) => this.#isWanted(item))
    if (items.length === 0) return
    const latest = new Map([...this.#all, ...items].map((item) => [item.id, item]))
    this.#all = [...latest.values()].sort(latestFirst).slice(0, KEPT)
    if (!this.#held) this.#shown = this.#all
    this.#count()
  }

  #count(): void {
    const shown = new Set(this.#held ? this.#shown.map(({ id }) => id) : [])
    this.#waiting = this.#held ? this.#all.filter(({ id }) => !shown.has(id)).length : 0
  }

  #isWanted({ agent_id: agent, decision }: DecisionView): boolean {
    const wanted = this.#filter
    return (
      (wanted.agent === undefined || wanted.agent === agent) &&
      (wanted.decision === undefined || wanted.decision === decision)
    )
  }
}

const latestFirst = (a: DecisionView, b: DecisionView): number =>
  Date.parse(b.at) - Date.parse(a.at) || (a.id < b.id ? 1 : -1)
