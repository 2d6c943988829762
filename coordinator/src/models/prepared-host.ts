import type { Clock } from '@understudy/shared/core/time'
import { checkGolden } from './golden.ts'
import { servingLimits } from './host/limits.ts'
import { type ModelHost, startHost } from './host/model-host.ts'
import { modelRefused } from './refusal.ts'
import { loadInto, type ModelFiles, type ServedModel } from './served-model.ts'

/** Where the files of a version come from, checked by their SHA-256. @throws AppError `model_refused` (ARTIFACT_DAMAGED) */
export type FilesOf = (model: ServedModel) => Promise<ModelFiles>

/**
 * A process that has answered the golden rows of its model: it can serve at once.
 * @throws AppError `model_refused`, `unavailable`
 */
export async function prepareHost(model: ServedModel, filesOf: FilesOf, clock: Clock): Promise<ModelHost> {
  const files = await filesOf(model)
  const host = startHost({ limits: servingLimits, clock })
  try {
    await loadInto(host, model, files)
    await checkGolden(host, model.manifest)
    return host
  } catch (error) {
    const end = host.alive ? undefined : await host.ended
    await host.close()
    throw end && end.reason !== 'closed' ? modelRefused(end.reason, end.said) : error
  }
}
