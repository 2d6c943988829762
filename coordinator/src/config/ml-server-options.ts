import { type OptionTable, wholeNumber } from '@understudy/shared/core/options'
import { z } from 'zod'

/** Refused with why, whatever it is set to. */
const refused = (error: string) =>
  z
    .unknown()
    .refine((value) => value === undefined, { error })
    .transform(() => undefined)

const NO_PLATFORM = 'the coordinator is the central platform itself and reports to none: take it out'

/** Settings of the ML server that mean nothing here: refused where that would mislead, else ignored with a warning. */
export const mlServerOptions = {
  ml_server_workers: {
    schema: wholeNumber(1, 1024).optional(),
    env: 'ML_SERVER_WORKERS',
    flag: false,
    doc: 'Ignored with a warning: each version of a model has one process, which answers in batches',
  },
  decision_engine_active: {
    schema: z
      .enum(['spot_optimizer_v1'], {
        error: 'must be spot_optimizer_v1, the decision pipeline: there is no other engine to choose',
      })
      .default('spot_optimizer_v1'),
    env: 'DECISION_ENGINE_ACTIVE',
    flag: false,
    doc: 'The engine that decides for agents until another is selected: spot_optimizer_v1, the decision pipeline, is the one there is',
  },
  local_prediction_store: {
    schema: z
      .string()
      .refine((store) => store === 'database', {
        error:
          'Redis is not used: an in-process cache and the change feed do its work. Predictions are in the database: take this out',
      })
      .optional(),
    env: 'LOCAL_PREDICTION_STORE',
    flag: false,
    doc: 'Only `database` is taken: predictions are stored there',
  },
  redis_host: {
    schema: z.string().optional(),
    env: 'REDIS_HOST',
    flag: false,
    doc: 'Ignored with a warning: Redis is not used, an in-process cache and the change feed do its work',
  },
  central_platform_url: {
    schema: refused(NO_PLATFORM),
    env: 'CENTRAL_PLATFORM_URL',
    flag: false,
    doc: 'Refused: the coordinator is the central platform itself',
  },
  central_platform_api_key: {
    schema: refused(NO_PLATFORM),
    env: 'CENTRAL_PLATFORM_API_KEY',
    secret: true,
    doc: 'Refused: the coordinator is the central platform itself',
  },
} as const satisfies OptionTable

/** What was set and does nothing, a sentence for each. */
export function ignoredSettings(config: {
  readonly ml_server_workers?: number | undefined
  readonly redis_host?: string | undefined
}): string[] {
  return [
    ...(config.ml_server_workers === undefined
      ? []
      : ['ML_SERVER_WORKERS is ignored: each version of a model has one process, which answers in batches']),
    ...(config.redis_host === undefined
      ? []
      : ['REDIS_HOST is ignored: Redis is not used, an in-process cache and the change feed do its work']),
  ]
}
