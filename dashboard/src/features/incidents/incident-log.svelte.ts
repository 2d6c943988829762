import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { Calls } from '../../api/calls.ts'
import type { Failure } from '../../api/http.ts'
import { byTime } from '../fleet/latest-moves.ts'

/** Incidents of the past, a page at a time; the live ones come from elsewhere and win. */
export class IncidentLog {
  readonly #calls: Pick<Calls, 'incidents'>
  readonly #agentId: string | undefined
  #read = $state.raw<readonly IncidentView[]>([])
  #next = $state.raw<string | null | undefined>(undefined)
  #failure = $state.raw<Failure>()
  #reading = $state(false)

  constructor(calls: Pick<Calls, 'incidents'>, agentId: string | undefined) {
    this.#calls = calls
    this.#agentId = agentId
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

  async readMore(): Promise<void> {
    if (this.#reading || this.#next === null) return
    this.#reading = true
    const answer = await this.#calls.incidents({ agentId: this.#agentId, cursor: this.#next })
    this.#reading = false
    this.#failure = answer.ok ? undefined : answer
    if (!answer.ok) return
    this.#read = [...this.#read, ...answer.body.items]
    this.#next = answer.body.next
  }

  /** The latest first, each once, in its latest version. */
  with(live: Iterable<IncidentView>): readonly IncidentView[] {
    const all = new Map(this.#read.map((incident) => [incident.id, incident]))
    for (const incident of live)
      if (this.#agentId === undefined || incident.agent_id === this.#agentId) all.set(incident.id, incident)
    return [...all.values()].sort(byTime)
  }
}
