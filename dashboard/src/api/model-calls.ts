import type {
  GapAnalysis,
  GapFills,
  GapFillTask,
  ListedModels,
  ModelPage,
} from '@understudy/shared/protocol/model-data'
import type {
  ActivationResult,
  Activations,
  ModelView,
  UploadSessions,
} from '@understudy/shared/protocol/models'
import type { AccuracyWindow, ModelAlerts, Performance } from '@understudy/shared/protocol/predictions'
import { type Answer, type Http, newKey } from './http.ts'
import type { Question } from './readings.svelte.ts'

/** For which prices are looked; what is left out is what is set, or in use. */
export interface GapScope {
  readonly model_id?: string
  readonly instance_types?: readonly string[]
  readonly regions?: readonly string[]
}

export const allModels: Question<ListedModels> = { name: 'models', query: { limit: '100' } }
export const oneModel = (id: string): Question<ModelPage> => ({ name: 'model', params: { id } })
export const uploads: Question<UploadSessions> = { name: 'model-uploads' }
export const activations: Question<Activations> = { name: 'model-activations', query: { limit: '20' } }
export const modelAlerts: Question<ModelAlerts> = { name: 'model-alerts' }
export const accuracyOf = (id: string, window: AccuracyWindow): Question<Performance> => ({
  name: 'model-performance',
  params: { id },
  query: { window },
})
/** The latest first. */
export const latestFills: Question<GapFills> = { name: 'gap-fills', query: { limit: '20' } }

/** What the pages about models do. */
export interface ModelCalls {
  activate(id: string): Promise<Answer<ActivationResult>>
  activateSession(id: string): Promise<Answer<ActivationResult>>
  fallBack(): Promise<Answer<ActivationResult>>
  remove(id: string): Promise<Answer<ModelView>>
  analyze(scope: GapScope): Promise<Answer<GapAnalysis>>
  fill(scope: GapScope): Promise<Answer<GapFillTask>>
  cancelFill(taskId: string): Promise<Answer<GapFillTask>>
}

const MODELS = '/api/v1/ml/models'
const FILLER = '/api/v1/ml/gap-filler'

export function createModelCalls(http: Http): ModelCalls {
  const post = <T>(path: string, body: unknown): Promise<Answer<T>> =>
    http<T>({ method: 'POST', path, body, key: newKey() })
  const model = (id: string) => `${MODELS}/${encodeURIComponent(id)}`
  return {
    activate: (id) => post(`${MODELS}/activate`, { model_id: id }),
    activateSession: (id) => post('/api/admin/ml-models/activate', { sessionId: id }),
    fallBack: () => post('/api/admin/ml-models/fallback', {}),
    remove: (id) => http({ method: 'DELETE', path: model(id), key: newKey() }),
    analyze: (scope) => http({ method: 'POST', path: `${FILLER}/analyze`, body: scope }),
    fill: (scope) => post(`${FILLER}/fill`, scope),
    cancelFill: (id) =>
      http({ method: 'DELETE', path: `${FILLER}/status/${encodeURIComponent(id)}`, key: newKey() }),
  }
}

export const downloadPath = (id: string, part: 'model' | 'scaler'): string =>
  `${MODELS}/${encodeURIComponent(id)}/download?part=${part}`
