import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { type ModelRefusal, modelRefusals } from '@understudy/shared/protocol/model-refusals'

/** A model that is not taken, or no longer trusted: status 422, with the reason as a code in the facts. */
export const modelRefused = (reason: ModelRefusal, message: string, hint?: string): AppError =>
  new AppError('model_refused', message, { hint, facts: { reason } })

/** Why, of an error that `modelRefused` has made. */
export function refusalOf(error: unknown): ModelRefusal | undefined {
  if (!isAppError(error, 'model_refused')) return undefined
  return modelRefusals.find((known) => known === error.facts.reason)
}
