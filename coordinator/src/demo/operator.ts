import { AppError } from '@understudy/shared/core/app-error'
import { type AgentSettings, type AgentView, agentViewSchema } from '@understudy/shared/protocol/agents'
import { type FailoverResponse, failoverResponseSchema } from '@understudy/shared/protocol/failover'
import { type IncidentView, incidentViewSchema } from '@understudy/shared/protocol/incidents'
import { createReplicaResponseSchema } from '@understudy/shared/protocol/replicas'
import { z } from 'zod'

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
    const limit = new AbortController()
    const request: RequestInit = {
      method,
      // A connection of its own: one that was kept may have been closed while this process stood still.
      headers: { connection: 'close', ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      signal: limit.signal,
    }
    if (body !== undefined) request.body = JSON.stringify(body)
    // Ends with the call: who asks many times a second would have thousands of limits waiting.
    const late = setTimeout(() => limit.abort(new Error(`${method} ${path}: no answer`)), CALL_LIMIT)
    const { response, text } = await fetch(`${url}${path}`, request)
      .then(async (answered) => ({ response: answered, text: await answered.text() }))
      .finally(() => clearTimeout(late))
    const answer: unknown = text === '' ? undefined : JSON.parse(text)
    if (response.ok) return answer
    const problem = z.object({ detail: z.string() }).safeParse(answer)
    throw new AppError('unavailable', `${method} ${path}: ${problem.data?.detail ?? response.status}`)
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
