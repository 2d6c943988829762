import type { AgentSettings, AgentView } from '@understudy/shared/protocol/agents'
import type { CreateReplicaResponse } from '@understudy/shared/protocol/replicas'
import { type Answer, type Http, newKey } from './http.ts'

/** What the page of one agent does, beside what can be done from the fleet. */
export interface AgentCalls {
  change(id: string, settings: Partial<AgentSettings>): Promise<Answer<AgentView>>
  /** In that pool. */
  createIn(id: string, poolId: string): Promise<Answer<CreateReplicaResponse>>
}

export function createAgentCalls(http: Http): AgentCalls {
  const agent = (id: string) => `/api/agents/${encodeURIComponent(id)}`
  return {
    change: (id, settings) => http({ method: 'PATCH', path: agent(id), body: settings, key: newKey() }),
    createIn: (id, poolId) =>
      http({ method: 'POST', path: `${agent(id)}/replicas`, body: { pool_id: poolId }, key: newKey() }),
  }
}
