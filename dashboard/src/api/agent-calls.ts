import type { AgentSettings, AgentView } from '@understudy/shared/protocol/agents'
import type { DrillView } from '@understudy/shared/protocol/drills'
import type { CreateReplicaResponse } from '@understudy/shared/protocol/replicas'
import { type Answer, type Http, newKey } from './http.ts'
import type { Question } from './readings.svelte.ts'

interface DrillPage {
  readonly items: readonly DrillView[]
  readonly next: string | null
}

export interface DrillWish {
  readonly replicaId: string
  readonly switchBack: boolean
  readonly key: string
}

/** What the page of one agent does, beside what can be done from the fleet. */
export interface AgentCalls {
  change(id: string, settings: Partial<AgentSettings>): Promise<Answer<AgentView>>
  /** In that pool. */
  createIn(id: string, poolId: string): Promise<Answer<CreateReplicaResponse>>
  beginDrill(id: string, wish: DrillWish): Promise<Answer<DrillView>>
}

/** The latest first. */
export const latestDrills = (id: string): Question<DrillPage> => ({
  name: 'drills',
  params: { id },
  query: { limit: '10' },
})

export function createAgentCalls(http: Http): AgentCalls {
  const agent = (id: string) => `/api/agents/${encodeURIComponent(id)}`
  return {
    change: (id, settings) => http({ method: 'PATCH', path: agent(id), body: settings, key: newKey() }),
    createIn: (id, poolId) =>
      http({ method: 'POST', path: `${agent(id)}/replicas`, body: { pool_id: poolId }, key: newKey() }),
    beginDrill: (id, { replicaId, switchBack, key }) =>
      http({
        method: 'POST',
        path: `${agent(id)}/drills`,
        body: { replica_id: replicaId, switch_back: switchBack },
        key,
      }),
  }
}
