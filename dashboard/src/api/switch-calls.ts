import type { SwitchView } from '@understudy/shared/protocol/incidents'
import type { Answer, Http } from './http.ts'

export interface SwitchPage {
  readonly items: readonly SwitchView[]
  readonly next: string | null
}

export const listSwitches = (
  http: Http,
  agentId: string | undefined,
  cursor: string | undefined,
): Promise<Answer<SwitchPage>> => {
  const query = new URLSearchParams({ limit: '100' })
  if (cursor !== undefined) query.set('cursor', cursor)
  const of = agentId === undefined ? '' : `/agents/${encodeURIComponent(agentId)}`
  return http({ method: 'GET', path: `/api${of}/switches?${query}` })
}
