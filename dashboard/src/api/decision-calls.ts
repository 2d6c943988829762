import type { CycleView, DecisionView } from '@understudy/shared/protocol/decision-log'
import type { DecisionTrace } from '@understudy/shared/protocol/decisions'
import { type Answer, type Http, newKey } from './http.ts'

export interface DecisionPage {
  readonly items: readonly DecisionView[]
  readonly next: string | null
}

export interface DecisionFilter {
  readonly agent?: string | undefined
  readonly decision?: string | undefined
}

export interface DecisionCalls {
  /** The latest first. */
  list(filter: DecisionFilter, cursor: string | undefined): Promise<Answer<DecisionPage>>
  trace(id: string): Promise<Answer<DecisionTrace>>
  /** For the whole fleet, now. */
  run(): Promise<Answer<CycleView>>
}

export const createDecisionCalls = (http: Http): DecisionCalls => ({
  list({ agent, decision }, cursor) {
    const query = new URLSearchParams({ limit: '100' })
    if (agent !== undefined) query.set('agent_id', agent)
    if (decision !== undefined) query.set('decision', decision)
    if (cursor !== undefined) query.set('cursor', cursor)
    return http({ method: 'GET', path: `/api/v1/ml/decisions?${query}` })
  },
  trace: (id) => http({ method: 'GET', path: `/api/v1/ml/decisions/${encodeURIComponent(id)}/trace` }),
  run: () => http({ method: 'POST', path: '/api/v1/ml/decisions/run', body: {}, key: newKey() }),
})
