import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { Route } from '../../route.ts'
import { formatT } from '../../ui/format.ts'
import { wordsOf } from '../recorder/step-words.ts'

const names: Readonly<Record<Route['page'], string>> = {
  fleet: 'Fleet',
  agent: 'Agent',
  incidents: 'Incidents',
  incident: 'Incident',
  switches: 'Switches',
  pools: 'Pools',
  models: 'Models',
  model: 'Model',
  'gap-filler': 'Gap filler',
  lab: 'Lab',
  decisions: 'Decisions',
  engines: 'Engines',
  settings: 'Settings',
  nowhere: 'Nothing here',
}

/** What the tab says; while something moves, how far it is. */
export function pageTitle(route: Route, running: IncidentView | undefined, nowT: number | undefined): string {
  if (!running || nowT === undefined) return `${names[route.page]} · Understudy`
  const step = running.steps.at(-1)
  const doing = step ? `${wordsOf(step.step).name}` : 'Moving'
  return `${formatT(nowT)} ${doing} · ${running.agent_name}`
}
