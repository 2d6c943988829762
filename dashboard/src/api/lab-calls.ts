import type {
  ExperimentEstimate,
  ExperimentResults,
  ExperimentView,
  RegisterExperimentRequest,
} from '@understudy/shared/protocol/experiments'
import type {
  ExperimentLog,
  LabConfig,
  LabConfigChange,
  LabModel,
  ModelPerformance,
  PipelineStatus,
} from '@understudy/shared/protocol/lab'
import { type Answer, type Http, newKey } from './http.ts'
import type { Question } from './readings.svelte.ts'

interface Page<T> {
  readonly items: readonly T[]
  readonly next: string | null
}

export type RegisteredExperiment = ExperimentView & { readonly estimate: ExperimentEstimate }

/** What the Lab does. */
export interface LabCalls {
  change(target: string, change: LabConfigChange): Promise<Answer<LabConfig>>
  assign(target: string, modelId: string): Promise<Answer<{ readonly took_ms: number }>>
  /** The same key is the same registration. */
  register(plan: RegisterExperimentRequest, key: string): Promise<Answer<RegisteredExperiment>>
  start(id: string): Promise<Answer<ExperimentView>>
  stop(id: string): Promise<Answer<ExperimentView>>
}

export const labModels: Question<Page<LabModel>> = { name: 'lab-models', query: { limit: '100' } }
export const labDecisions = (id: string): Question<Page<ExperimentLog>> => ({
  name: 'lab-decisions',
  params: { id },
  query: { limit: '20' },
})
export const labPerformance = (id: string): Question<ModelPerformance> => ({
  name: 'lab-performance',
  params: { id },
})
/** How decisions are made for a target. */
export const labConfig = (id: string): Question<LabConfig> => ({ name: 'lab-config', params: { id } })
/** Every stage of the pipeline for a target. */
export const labStatus = (id: string): Question<PipelineStatus> => ({
  name: 'lab-status',
  params: { id },
})
export const allExperiments: Question<Page<ExperimentView>> = {
  name: 'experiments',
  query: { limit: '50' },
}
export const experimentResults = (id: string): Question<ExperimentResults> => ({
  name: 'experiment-results',
  params: { id },
})

export function createLabCalls(http: Http): LabCalls {
  const LAB = '/api/v1/lab'
  const name = encodeURIComponent
  const send = <T>(method: 'POST' | 'PUT', path: string, body: unknown, key = newKey()): Promise<Answer<T>> =>
    http<T>({ method, path: `${LAB}${path}`, body, key })
  return {
    change: (target, change) => send('PUT', `/config/${name(target)}`, change),
    assign: (target, modelId) => send('POST', '/assign-model', { instance_id: target, model_id: modelId }),
    register: (plan, key) => send('POST', '/experiments', plan, key),
    start: (id) => send('POST', `/experiments/${name(id)}/start`, {}),
    stop: (id) => send('POST', `/experiments/${name(id)}/stop`, {}),
  }
}
