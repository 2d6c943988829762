import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ReadableStream } from 'node:stream/web'
import { fileURLToPath } from 'node:url'
import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { type Clock, minutes, sleep } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { ModelRow } from '../storage/database.ts'
import type { UploadRequest } from './receive-upload.ts'

const FOLDER = join('models', 'registry', 'price-instability', '1.0.0')
const FILES = ['model.onnx', 'manifest.json']
const ACTOR = 'coordinator'
/** What may come right by itself, such as a bucket that does not answer, is tried again after this. */
const AGAIN = minutes(10)

/** The folder of the model that comes with the coordinator: beside the bundle, or in a checkout. */
export function findDefaultModel(): string | undefined {
  const here = dirname(fileURLToPath(import.meta.url))
  return [here, join(here, '../../..')]
    .map((place) => join(place, FOLDER))
    .find((folder) => existsSync(join(folder, 'manifest.json')))
}

/**
 * The folder of the model that is taken in while there is no other; undefined where none is to be.
 * @throws AppError `config_invalid` when RISK_MODEL_PATH names no folder with a model
 */
export function firstModel(config: {
  readonly risk_model_path?: string | undefined
  readonly default_model: boolean
}): string | undefined {
  const { risk_model_path: folder, default_model: isOurs } = config
  if (folder === undefined) return isOurs ? findDefaultModel() : undefined
  const missing = FILES.filter((name) => !existsSync(join(folder, name)))
  if (missing.length === 0) return folder
  throw new AppError(
    'config_invalid',
    `RISK_MODEL_PATH is ${folder}: there is no ${missing.join(' and no ')}`,
    {
      hint: 'Name a folder with model.onnx and manifest.json (docs/models.md), or take the setting out.',
    },
  )
}

/** The same upload that an operator would send. */
async function uploadOf(folder: string): Promise<UploadRequest> {
  const form = new FormData()
  const file = await readFile(join(folder, 'model.onnx'))
  form.append('file', new Blob([new Uint8Array(file)]), 'model.onnx')
  form.append('manifest', await readFile(join(folder, 'manifest.json'), 'utf8'))
  const { headers, body } = new Response(form)
  return {
    actor: ACTOR,
    sessionId: undefined,
    total: null,
    key: null,
    contentType: headers.get('content-type') ?? '',
    body: body as ReadableStream<Uint8Array> | null,
  }
}

/** What is there is only what an earlier start has left, cut off or refused, before it ever counted. */
const isUntouched = (rows: readonly ModelRow[]): boolean =>
  rows.every((row) => row.uploaded_by === ACTOR && row.activated_at === null)

/**
 * Where nobody has brought a model yet, takes the one of the folder in as any other: scan, trial, golden rows, activation.
 * What goes wrong is logged and stops nothing: without a model nothing is predicted. Returns whether it is active now.
 */
export async function takeDefaultModel(
  folder: string,
  models: {
    list(): Promise<readonly ModelRow[]>
    upload(request: UploadRequest): Promise<{ readonly model_id: string }>
    activate(id: string, actor: string, reason: string): Promise<unknown>
  },
  { log, clock, signal }: { readonly log: Logger; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<boolean> {
  while (!signal.aborted)
    try {
      if (!isUntouched(await models.list())) return false
      const { model_id: id } = await models.upload(await uploadOf(folder))
      await models.activate(id, ACTOR, `there was no other: ${folder}`)
      log.info({ event: 'model.default_taken', model: id, folder })
      return true
    } catch (error) {
      const again = isAppError(error) && error.retryable
      log.warn({
        event: 'model.default_not_taken',
        folder,
        why: messageOf(error),
        note: `nothing is predicted until a model is active${again ? '; it is tried again in 10 minutes' : ''}`,
      })
      if (!again) return false
      await sleep(clock, AGAIN, signal).catch(() => undefined)
    }
  return false
}
