import { type Millis, minutes, seconds } from '@understudy/shared/core/time'
import type { ReadingName } from '@understudy/shared/protocol/readings'
import type { Role } from '../http/http.ts'

/** What happens inside the coordinator, by which a reading may have changed. */
export type ReadingEvent =
  /** Somebody has changed something by the API. */
  | 'change'
  /** An incident has begun, gone on or ended. */
  | 'incident'
  /** A model has drifted, or does not any more. */
  | 'alert'

export interface ReadingKind {
  /** The GET that it is. `{words}` are its params. */
  readonly path: string
  readonly role: Role
  /** The keys of its query that a page may set. */
  readonly query: readonly string[]
  /** Its `from` and `to` end now: rounded, so that pages ask the same. `up`: what is of the unfinished step counts. */
  readonly span?: { readonly step: Millis; readonly round: 'up' | 'down' }
  /** How often it is read when nothing is heard of it. */
  readonly every: Millis
  readonly on: readonly ReadingEvent[]
}

const ML = '/api/v1/ml'
const LAB = '/api/v1/lab'
const BUCKETS = { step: minutes(5), round: 'up' } as const
const PAST_MINUTES = { step: minutes(1), round: 'down' } as const

const reading = (
  path: string,
  query: readonly string[],
  every: Millis,
  on: readonly ReadingEvent[] = ['change'],
): ReadingKind => ({ path, role: 'viewer', query, every, on })

/** Everything that pages keep up to date. What is expensive is read more seldom, and not at every event. */
export const readingKinds: Readonly<Record<ReadingName, ReadingKind>> = {
  switches: reading('/api/switches', ['limit'], seconds(5), ['change', 'incident']),
  'agent-switches': reading('/api/agents/{id}/switches', ['limit'], seconds(5), ['change', 'incident']),
  drills: reading('/api/agents/{id}/drills', ['limit'], seconds(1), ['change', 'incident']),
  savings: { ...reading('/api/savings', [], minutes(1), []), span: PAST_MINUTES },
  'agent-savings': { ...reading('/api/agents/{id}/savings', [], minutes(1), []), span: PAST_MINUTES },

  pools: reading('/api/pools', ['limit'], seconds(5)),
  'pool-prices': { ...reading('/api/pools/{id}/pricing', ['points'], seconds(30), []), span: BUCKETS },
  'pool-risk': reading('/api/pools/{id}/risk', [], seconds(10), ['change', 'incident']),
  predictions: { ...reading(`${ML}/predictions`, ['pool', 'limit'], seconds(10), []), span: BUCKETS },
  'catalog-advisor': reading(`${ML}/pricing/spot-advisor`, ['limit'], minutes(1)),
  'catalog-on-demand': reading(`${ML}/pricing/on-demand`, ['limit'], minutes(1)),

  models: reading(`${ML}/models/list`, ['limit'], seconds(5), ['change', 'alert']),
  model: reading(`${ML}/models/{id}/details`, [], seconds(5), ['change', 'alert']),
  'model-performance': reading(`${ML}/models/{id}/performance`, ['window'], seconds(30), ['change', 'alert']),
  'model-activations': reading(`${ML}/models/activations`, ['limit'], seconds(5), ['change', 'alert']),
  'model-alerts': reading(`${ML}/models/alerts`, [], seconds(10), ['change', 'alert']),
  'model-uploads': reading('/api/admin/ml-models/sessions', [], seconds(1), ['change', 'alert']),
  'gap-fills': reading(`${ML}/gap-filler/history`, ['limit'], seconds(1)),

  'lab-models': reading(`${LAB}/models`, ['limit'], seconds(10), ['change', 'alert']),
  'lab-config': reading(`${LAB}/config/{id}`, [], seconds(2)),
  'lab-status': reading(`${LAB}/pipeline-status/{id}`, [], seconds(1), ['change', 'alert']),
  'lab-performance': reading(`${LAB}/experiments/model/{id}`, [], seconds(10)),
  'lab-decisions': reading(`${LAB}/experiments/{id}`, ['limit'], seconds(2)),
  experiments: reading(`${LAB}/experiments`, ['limit'], seconds(2)),
  'experiment-results': reading(`${LAB}/experiments/{id}/results`, [], seconds(10)),

  engines: reading(`${ML}/engines/list`, [], seconds(5)),
  engine: reading(`${ML}/engines/{id}/metadata`, [], seconds(5)),

  receivers: reading('/api/notifications/receivers', [], seconds(2), ['change', 'incident', 'alert']),
  deliveries: reading('/api/notifications/deliveries', ['limit'], seconds(2), [
    'change',
    'incident',
    'alert',
  ]),
  audit: reading('/api/audit', ['limit', 'actor', 'action', 'object'], seconds(5)),
  settings: reading('/api/settings', [], minutes(1)),
}
