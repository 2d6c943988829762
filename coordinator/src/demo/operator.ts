import { AppError } from '@understudy/shared/core/app-error'
import { type AgentSettings, type AgentView, agentViewSchema } from '@understudy/shared/protocol/agents'
import { type FailoverResponse, failoverResponseSchema } from '@understudy/shared/protocol/failover'
import { type IncidentView, incidentViewSchema } from '@understudy/shared/protocol/incidents'
import { createReplicaResponseSchema } from '@understudy/shared/protocol/replicas'
import { z } from 'zod'
import { exchange } from './exchange.ts'

/** The demo as an operator: it uses the public API of the coordinator like anybody else. */
export interface Operator {
  joinToken(agent: string, name: string, client: string): Promise<string>
  agents(): Promise<readonly AgentView[]>
  agent(id: string): Promise<AgentView>
  change(agent: string, settings: Partial<AgentSettings>): Promise<void>
  createReplica(agent: string): Promise<void>
  deleteReplica(agent: string, replica: string): Promise<void>
  promote(agent: string, replica: string): Promise<FailoverResponse>
  incidents(agent: string): Promise<readonly IncidentView[]>
  /** Puts the demo's own figures on the page. */
  show(demo: unknown): Promise<void>
}

/** No call of the API takes as long as this. */
const CALL_LIMIT = 30_000

export function createOperator(url: string): Operator {
  async function call(method: string, path: string, body?: unknown): Promise<unknown> {
    const { ok, status, text } = await exchange(
      `${url}${path}`,
      body === undefined
        ? { method, headers: {} }
        : { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
      CALL_LIMIT,
    )
    const answer: unknown = text === '' ? undefined : JSON.parse(text)
    if (ok) return answer
    const problem = z.object({ detail: z.string() }).safeParse(answer)
    throw new AppError('unavailable', `${method} ${path}: ${problem.data?.detail ?? status}`)
  }

  return {
    joinToken: async (agent, name, client) =>
      z
        .object({ join_token: z.string() })
        .parse(await call('POST', `/api/agents/${agent}/join-tokens`, { name, client_id: client }))
        .join_token,
    agents: async () =>
      z.object({ items: z.array(agentViewSchema) }).parse(await call('GET', '/api/agents')).items,
    agent: async (id) => agentViewSchema.parse(await call('GET', `/api/agents/${id}`)),
    change: async (agent, settings) => void (await call('PATCH', `/api/agents/${agent}`, settings)),
    createReplica: async (agent) =>
      void createReplicaResponseSchema.parse(
        await call('POST', `/api/agents/${agent}/replicas`, { created_by: 'demo' }),
      ),
    deleteReplica: async (agent, replica) =>
      void (await call('DELETE', `/api/agents/${agent}/replicas/${replica}`)),
    promote: async (agent, replica) =>
      failoverResponseSchema.parse(
        await call('POST', `/api/agents/${agent}/replicas/${replica}/promote`, { demote_old_primary: true }),
      ),
    incidents: async (agent) =>
      z
        .object({ items: z.array(incidentViewSchema) })
        .parse(await call('GET', `/api/incidents?agent_id=${agent}`)).items,
    show: async (demo) => void (await call('POST', '/api/demo/show', demo)),
  }
}
