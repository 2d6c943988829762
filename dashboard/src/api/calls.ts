import type { ReplicaView } from '@understudy/shared/protocol/agents'
import type { FailoverResponse } from '@understudy/shared/protocol/failover'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { CreateReplicaResponse, PromotionPlan } from '@understudy/shared/protocol/replicas'
import { type Answer, type Http, newKey } from './http.ts'

export type Role = 'viewer' | 'operator' | 'admin'

export type SessionAnswer =
  | { readonly needs_login: true }
  | { readonly needs_login: false; readonly name: string; readonly role: Role }

export interface IncidentPage {
  readonly items: readonly IncidentView[]
  readonly next: string | null
}

export interface PromoteWish {
  readonly agentId: string
  readonly replicaId: string
  readonly expectedEpoch: number
  readonly keepOld: boolean
  readonly key: string
}

/** What the page asks of the coordinator. */
export interface Calls {
  session(): Promise<Answer<SessionAnswer>>
  signIn(token: string): Promise<Answer<SessionAnswer>>
  signOut(): Promise<Answer<void>>
  createReplica(agentId: string): Promise<Answer<CreateReplicaResponse>>
  deleteReplica(agentId: string, replicaId: string): Promise<Answer<ReplicaView>>
  plan(agentId: string, replicaId: string): Promise<Answer<PromotionPlan>>
  promote(wish: PromoteWish): Promise<Answer<FailoverResponse>>
  /** The demo only; `null` ends the instance without any notice. */
  interrupt(agentId: string, noticeSeconds: number | null): Promise<Answer<{ instance_id: string }>>
  incident(id: string): Promise<Answer<IncidentView>>
  incidents(filter: {
    agentId?: string | undefined
    cursor?: string | undefined
  }): Promise<Answer<IncidentPage>>
}

export function createCalls(http: Http): Calls {
  const agent = (id: string) => `/api/agents/${encodeURIComponent(id)}`
  const replica = (id: string, rid: string) => `${agent(id)}/replicas/${encodeURIComponent(rid)}`
  return {
    session: () => http({ method: 'GET', path: '/api/session' }),
    signIn: (token) => http({ method: 'POST', path: '/api/session', body: { token } }),
    signOut: () => http({ method: 'DELETE', path: '/api/session' }),
    createReplica: (id) => http({ method: 'POST', path: `${agent(id)}/replicas`, body: {}, key: newKey() }),
    deleteReplica: (id, rid) => http({ method: 'DELETE', path: replica(id, rid), key: newKey() }),
    plan: (id, rid) => http({ method: 'GET', path: `${replica(id, rid)}/promote?dry_run` }),
    promote: ({ agentId, replicaId, expectedEpoch, keepOld, key }) =>
      http({
        method: 'POST',
        path: `${replica(agentId, replicaId)}/promote`,
        body: { demote_old_primary: keepOld, expected_epoch: expectedEpoch },
        key,
      }),
    interrupt: (id, seconds) =>
      http({
        method: 'POST',
        path: `/api/demo/interrupt/${encodeURIComponent(id)}`,
        body: { notice_seconds: seconds },
      }),
    incident: (id) => http({ method: 'GET', path: `/api/incidents/${encodeURIComponent(id)}` }),
    incidents: ({ agentId, cursor }) => {
      const query = new URLSearchParams({ limit: '50' })
      if (agentId !== undefined) query.set('agent_id', agentId)
      if (cursor !== undefined) query.set('cursor', cursor)
      return http({ method: 'GET', path: `/api/incidents?${query}` })
    },
  }
}

/** The recorder as a file; `text` is also what "Copy as text" copies. */
export const exportPath = (incidentId: string, format: 'json' | 'text' | 'zip'): string =>
  `/api/incidents/${encodeURIComponent(incidentId)}/export?format=${format}`
