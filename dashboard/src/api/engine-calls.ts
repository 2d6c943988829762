import type {
  EngineList,
  EnginePage,
  SelectEngineResult,
  TestEngineResult,
} from '@understudy/shared/protocol/engines'
import { type Answer, type Http, newKey } from './http.ts'
import type { Question } from './readings.svelte.ts'

export interface EngineWish {
  readonly engine_id: string
  readonly config: Readonly<Record<string, unknown>>
  /** What was seen when it was decided. */
  readonly expected_revision: number
}

export interface EngineCalls {
  /** Says what would change. */
  plan(wish: EngineWish): Promise<Answer<SelectEngineResult>>
  select(wish: EngineWish): Promise<Answer<SelectEngineResult>>
  test(
    id: string,
    input: unknown,
    config: Readonly<Record<string, unknown>>,
  ): Promise<Answer<TestEngineResult>>
}

export const allEngines: Question<EngineList> = { name: 'engines' }
export const oneEngine = (id: string): Question<EnginePage> => ({ name: 'engine', params: { id } })

export function createEngineCalls(http: Http): EngineCalls {
  const engines = '/api/v1/ml/engines'
  const selecting = `${engines}/select`
  return {
    plan: (wish) => http({ method: 'POST', path: selecting, body: { ...wish, dry_run: true } }),
    select: (wish) => http({ method: 'POST', path: selecting, body: wish, key: newKey() }),
    test: (id, input, config) =>
      http({ method: 'POST', path: `${engines}/${encodeURIComponent(id)}/test`, body: { input, config } }),
  }
}
