import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { Live } from '../../api/live.svelte.ts'
import type { Ticker } from '../../ui/ticker.svelte.ts'

/** The moment of the incident that is now; undefined once it has ended, since then no clock runs for it. */
export const momentOf = (incident: IncidentView, live: Live, ticker: Ticker): number | undefined =>
  incident.outcome === 'running'
    ? Math.max(0, live.serverTime(ticker.now) - Date.parse(incident.detected_at))
    : undefined
