import type { SwitchView } from '@understudy/shared/protocol/incidents'
import type { Answer, Http } from './http.ts'
import type { Question } from './readings.svelte.ts'

interface SwitchPage {
  readonly items: readonly SwitchView[]
  readonly next: string | null
}

const query = { limit: '100' }

/** Of one agent, or of all of them; the latest first. */
export const latestSwitches = (agentId: string | undefined): Question<SwitchPage> =>
  agentId === undefined
    ? { name: 'switches', query }
    : { name: 'agent-switches', params: { id: agentId }, query }

/** Those before a cursor. */
export function earlierSwitches(
  http: Http,
  agentId: string | undefined,
  cursor: string,
): Promise<Answer<SwitchPage>> {
  const of = agentId === undefined ? '' : `/agents/${encodeURIComponent(agentId)}`
  return http({ method: 'GET', path: `/api${of}/switches?${new URLSearchParams({ ...query, cursor })}` })
}
