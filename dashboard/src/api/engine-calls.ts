import type {
  EngineList,
  EnginePage,
  SelectEngineResult,
  TestEngineResult,
} from '@understudy/shared/protocol/engines'
import { type Answer, type Http, newKey } from './http.ts'

export interface EngineWish {
  readonly engine_id: string
  readonly config: Readonly<Record<string, unknown>>
  /** What was seen when it was decided. */
  readonly expected_revision: number
}

export interface EngineCalls {
  list(): Promise<Answer<EngineList>>
  page(id: string): Promise<Answer<EnginePage>>
  /** Says what would change. */
  plan(wish: EngineWish): Promise<Answer<SelectEngineResult>>
  select(wish: EngineWish): Promise<Answer<SelectEngineResult>>
  test(
    id: string,
    input: unknown,
    config: Readonly<Record<string, unknown>>,
  ): Promise<Answer<TestEngineResult>>
}

export function createEngineCalls(http: Http): EngineCalls {
  const path = (id: string, what: string) => `/api/v1/ml/engines/${encodeURIComponent(id)}/${what}`
  const selecting = '/api/v1/ml/engines/select'
  return {
    list: () => http({ method: 'GET', path: '/api/v1/ml/engines/list' }),
    page: (id) => http({ method: 'GET', path: path(id, 'metadata') }),
    plan: (wish) => http({ method: 'POST', path: selecting, body: { ...wish, dry_run: true } }),
    select: (wish) => http({ method: 'POST', path: selecting, body: wish, key: newKey() }),
    test: (id, input, config) => http({ method: 'POST', path: path(id, 'test'), body: { input, config } }),
  }
}
