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

/** For which prices are looked; what is left out is what is set, or in use. */
export interface GapScope {
  readonly model_id?: string
  readonly instance_types?: readonly string[]
  readonly regions?: readonly string[]
}

/** What the pages about models ask and do. */
export interface ModelCalls {
  list(): Promise<Answer<ListedModels>>
  details(id: string): Promise<Answer<ModelPage>>
  sessions(): Promise<Answer<UploadSessions>>
  activations(): Promise<Answer<Activations>>
  alerts(): Promise<Answer<ModelAlerts>>
  performance(id: string, window: AccuracyWindow): Promise<Answer<Performance>>
  activate(id: string): Promise<Answer<ActivationResult>>
  activateSession(id: string): Promise<Answer<ActivationResult>>
  fallBack(): Promise<Answer<ActivationResult>>
  remove(id: string): Promise<Answer<ModelView>>
  analyze(scope: GapScope): Promise<Answer<GapAnalysis>>
  fill(scope: GapScope): Promise<Answer<GapFillTask>>
  cancelFill(taskId: string): Promise<Answer<GapFillTask>>
  fills(): Promise<Answer<GapFills>>
}

const MODELS = '/api/v1/ml/models'
const FILLER = '/api/v1/ml/gap-filler'

export function createModelCalls(http: Http): ModelCalls {
  const get = <T>(path: string): Promise<Answer<T>> => http<T>({ method: 'GET', path })
  const post = <T>(path: string, body: unknown): Promise<Answer<T>> =>
    http<T>({ method: 'POST', path, body, key: newKey() })
  const model = (id: string) => `${MODELS}/${encodeURIComponent(id)}`
  return {
    list: () => get(`${MODELS}/list?limit=100`),
    details: (id) => get(`${model(id)}/details`),
    sessions: () => get('/api/admin/ml-models/sessions'),
    activations: () => get(`${MODELS}/activations?limit=20`),
    alerts: () => get(`${MODELS}/alerts`),
    performance: (id, window) => get(`${model(id)}/performance?window=${window}`),
    activate: (id) => post(`${MODELS}/activate`, { model_id: id }),
    activateSession: (id) => post('/api/admin/ml-models/activate', { sessionId: id }),
    fallBack: () => post('/api/admin/ml-models/fallback', {}),
    remove: (id) => http({ method: 'DELETE', path: model(id), key: newKey() }),
    analyze: (scope) => http({ method: 'POST', path: `${FILLER}/analyze`, body: scope }),
    fill: (scope) => post(`${FILLER}/fill`, scope),
    cancelFill: (id) =>
      http({ method: 'DELETE', path: `${FILLER}/status/${encodeURIComponent(id)}`, key: newKey() }),
    fills: () => get(`${FILLER}/history?limit=20`),
  }
}

export const downloadPath = (id: string, part: 'model' | 'scaler'): string =>
  `${MODELS}/${encodeURIComponent(id)}/download?part=${part}`
