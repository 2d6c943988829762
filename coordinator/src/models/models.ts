import { randomUUID } from 'node:crypto'
import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, hours, type Millis, minutes } from '@understudy/shared/core/time'
import type { ActivationResult, ModelState, UploadResult } from '@understudy/shared/protocol/models'
import type { Logger } from 'pino'
import type { Bucket } from '../cloud/bucket.ts'
import type { Kysely, ModelRow, Schema } from '../storage/database.ts'
import { createArtifactBucket, createArtifactDirectory } from './artifacts.ts'
import { activateConfigured } from './configured-version.ts'
import { takeDefaultModel } from './default-model.ts'
import { firstBroken } from './ledger.ts'
import { createModelStore, type ModelStore, modelView, noModel } from './model-store.ts'
import { MOST_UPLOAD, receiveUpload, type UploadRequest } from './receive-upload.ts'
import { createRefresh, type Refresh, refreshWhenDue } from './refresh.ts'
import { createRegistry, type Registry } from './registry.ts'
import { createServing, type Prediction, type Serving } from './serving.ts'
import { createSessions, type OpenSession, type Sessions } from './sessions.ts'
import { toManifest, toUploadFields } from './upload-checks.ts'

export type { ModelAlerts } from './alerts.ts'
export type { ModelStore } from './model-store.ts'
export { openPredictions } from './open-predictions.ts'
export type { Prediction } from './serving.ts'

export interface ModelsPorts {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  /** Where the files of models are kept; made when the first one comes. */
  readonly directory: string
  /** Where they are kept instead; uploads still arrive in the directory. */
  readonly bucket?: Bucket | undefined
  /** How often the active version is read again and checked. */
  readonly refresh: 'off' | 'daily' | 'weekly'
  /** Told of each call for predictions of the active version; undefined when none could be made. */
  readonly onPrediction?: ((prediction: Prediction | undefined) => void) | undefined
  /** What a refresh does about prices, in a sentence; nothing if it is not given. */
  readonly refreshPrices?: ((actor: string) => Promise<string>) | undefined
  /** The folder of a model that is taken in while nobody has brought one. */
  readonly defaultModel?: string | undefined
  /** Activated at each start, however it is spelled in the settings. */
  readonly activeVersion?: string | undefined
  /** What else refers to a version, such as an experiment: it is not deleted then. */
  readonly referrers?: (id: string) => Promise<readonly string[]>
}

/**
 * The models of this coordinator: a registry of versions that never change, a ledger of which of them counted when, and the
 * processes in which they run.
 */
export interface Models extends Service {
  readonly store: ModelStore
  readonly sessions: Sessions
  readonly refresh: Refresh
  readonly registry: Pick<Registry, 'activate' | 'rollBack' | 'assign' | 'remove'>
  /** Which version answers now, and its processes. */
  readonly serving: Pick<Serving, 'active' | 'warm' | 'hosts' | 'predict' | 'predictAs'>
  /** @throws AppError `input_invalid`, `conflict`, `model_refused`, `payload_too_large`, `busy`, `disk_full` */
  upload(request: UploadRequest): Promise<UploadResult>
  activateSession(id: string, actor: string): Promise<ActivationResult>
  /** Verified against its SHA-256. @throws AppError `not_found`, `not_ready`, `model_refused` (ARTIFACT_DAMAGED) */
  file(id: string, part: 'model' | 'scaler'): Promise<{ name: string; sha256: string; content: Uint8Array }>
  /**
   * Probabilities of the active version; of the one before while that cannot answer.
   * @param values features row after row, in the order of the manifest; NaN for what is missing
   * @throws AppError `input_invalid`, `unavailable`, `model_refused`
   */
  predict(values: Float32Array): Promise<Prediction>
  /** By the version that `shadow:…` or `lab:…` points to. @throws as `predict`, and `not_found` */
  predictAs(alias: string, values: Float32Array): Promise<Prediction>
}

const noPrices = () => Promise.resolve('no prices were asked for')

/** Each holds a file descriptor and disk. */
const MOST_UPLOADS = 4
const periods = { off: undefined, daily: hours(24), weekly: hours(24 * 7) } as const

export function createModels(ports: ModelsPorts): Models {
  const { db, clock, log } = ports
  const store = createModelStore(db, clock)
  const ending = new AbortController()
  const artifacts = ports.bucket
    ? createArtifactBucket(ports.bucket, ports.directory, ending.signal)
    : createArtifactDirectory(ports.directory)
  const sessions = createSessions(db, clock)
  const registry: Registry = createRegistry({
    store,
    artifacts,
    clock,
    log,
    serving: () => serving,
    ...(ports.referrers ? { referrers: ports.referrers } : {}),
  })
  const serving: Serving = createServing({
    clock,
    log,
    prepare: registry.prepare,
    onTrouble: registry.onTrouble,
  })
  const refresh = createRefresh(db, clock, registry, serving, ports.refreshPrices ?? noPrices)
  let uploads = 0

  async function take(
    request: UploadRequest,
    session: OpenSession,
  ): Promise<{ row: ModelRow; created: boolean }> {
    const upload = await receiveUpload({ ...request, onProgress: session.progress }, artifacts)
    const files = [upload.model.file, ...(upload.scaler ? [upload.scaler.file] : [])]
    try {
      await session.checking(upload.fileNames, upload.model.sha256)
      const today = new Date(clock.now()).toISOString().slice(0, 10)
      const manifest = toManifest(upload.manifest, toUploadFields(upload.fields), today)
      assertDescribes(manifest.sha256, upload.model.sha256, 'model')
      assertDescribes(manifest.scaler?.sha256, upload.scaler?.sha256, 'scaler')
      await assertSameRequest(request, upload.model.sha256)
      return await registry.add({
        manifest,
        model: upload.model,
        scaler: upload.scaler,
        actor: request.actor,
      })
    } finally {
      for (const file of files) await file.drop()
    }
  }

  async function assertSameRequest({ key, actor }: UploadRequest, sha256: string): Promise<void> {
    const before = key === null ? undefined : await sessions.findByKey(key, actor)
    if (before && before.sha256 !== sha256)
      throw new AppError('conflict', 'this Idempotency-Key was used for another upload', {
        hint: 'Use a new key for every new upload.',
      })
  }

  const isActive = (id: string): boolean => serving.active?.id === id

  async function upload(request: UploadRequest): Promise<UploadResult> {
    if (request.total !== null && request.total > MOST_UPLOAD)
      throw new AppError('payload_too_large', `an upload may have ${MOST_UPLOAD / 1024 / 1024} MiB`)
    if (uploads >= MOST_UPLOADS)
      throw new AppError('busy', `${MOST_UPLOADS} uploads are under way`, {
        retryable: true,
        hint: 'Try again when one has ended.',
      })
    uploads += 1
    const session = await sessions
      .open({ ...request, id: request.sessionId ?? randomUUID() })
      .catch((error: unknown) => {
        uploads -= 1
        throw error
      })
    try {
      const { row, created } = await take(request, session)
      await session.done(row, isActive(row.id))
      const aliases = (await store.aliases()).get(row.id) ?? []
      return { ...modelView(row, aliases), session_id: session.id, created, warnings: warningsOf(row) }
    } catch (error) {
      await session.failed(error)
      throw error
    } finally {
      uploads -= 1
    }
  }

  /** Never a reason not to start. */
  async function chooseFirst(signal: AbortSignal): Promise<void> {
    const { defaultModel, activeVersion } = ports
    const list = () => store.list(undefined, 1000)
    if (defaultModel !== undefined)
      await takeDefaultModel(
        defaultModel,
        { list, upload, activate: registry.activate },
        { log, clock, signal },
      )
    if (activeVersion !== undefined)
      await activateConfigured(
        activeVersion,
        { list, ledger: store.ledger, activate: registry.activate },
        { log, clock, signal },
      )
  }

  /** What was cut off with a coordinator would lie there for ever. */
  async function sweep(): Promise<void> {
    try {
      const files = await artifacts.sweep(clock.now())
      if (files > 0) log.info({ event: 'model.uploads_swept', files })
    } catch (error) {
      log.warn({ event: 'model.uploads_not_swept', why: messageOf(error) })
    }
  }

  return {
    name: 'models',
    store,
    sessions,
    refresh,
    registry,
    serving,
    upload,
    async activateSession(id, actor) {
      const session = await sessions.find(id)
      if (session.model_id === null)
        throw new AppError(
          'not_ready',
          `the upload ${id} is ${session.status}${session.error ? `: ${session.error}` : ''}`,
          {
            hint: 'Only an upload that has passed its trial can be activated.',
          },
        )
      return registry.activate(session.model_id, actor, `session ${id}`)
    },
    async file(id, part) {
      const row = await store.find(id)
      if (!row) throw noModel(id)
      const sha256 = part === 'model' ? row.model_sha256 : row.scaler_sha256
      if (sha256 === null) throw new AppError('not_found', `${row.name} ${row.version} has no scaler`)
      if (row.artifact_kept === 0)
        throw new AppError('not_ready', `the files of ${row.name} ${row.version} are no longer kept`)
      return {
        name: `${row.name}-${row.version}.${part === 'model' ? '' : 'scaler.'}onnx`,
        sha256,
        content: await artifacts.read(sha256),
      }
    },
    async predict(values) {
      try {
        const prediction = await serving.predict(values)
        ports.onPrediction?.(prediction)
        return prediction
      } catch (error) {
        if (!isAppError(error, 'input_invalid')) ports.onPrediction?.(undefined)
        throw error
      }
    },
    predictAs: serving.predictAs,
    async run(signal) {
      let first = Promise.resolve()
      const end = () => ending.abort()
      signal.addEventListener('abort', end, { once: true })
      try {
        await sessions.recover()
        await refresh.recover()
        await registry.recover()
        const broken = firstBroken(await store.ledger())
        if (broken !== undefined)
          log.error({
            event: 'models.ledger_broken',
            seq: broken,
            note: 'a line was changed or taken out by hand',
          })
        first = chooseFirst(signal)
        await refreshOnTime(signal, periods[ports.refresh])
      } finally {
        end()
        await first
        await registry.settled()
        await serving.close()
      }
    },
  }

  /** Looks every few minutes, so that a restart neither skips a refresh nor adds one. */
  async function refreshOnTime(signal: AbortSignal, period: Millis | undefined): Promise<void> {
    const began = clock.now()
    await everyPeriod(clock, minutes(10), signal, async () => {
      await sweep()
      if (period !== undefined && serving.active) await refreshWhenDue(refresh, period, { began, clock, log })
    })
  }
}

function assertDescribes(said: string | undefined, got: string | undefined, part: string): void {
  if (said === got) return
  if (said === undefined || got === undefined)
    throw new AppError(
      'input_invalid',
      said === undefined
        ? `the manifest says nothing of the ${part} that was uploaded`
        : `the ${part} of the manifest is missing`,
    )
  throw new AppError('input_invalid', `the ${part} has the SHA-256 ${got}; the manifest says ${said}`, {
    hint: 'The file was changed after the manifest was made, or the upload was damaged.',
    errors: [
      { pointer: part === 'model' ? '/manifest/sha256' : '/manifest/scaler/sha256', message: `it is ${got}` },
    ],
  })
}

/** What is no reason to refuse it, and yet worth knowing. */
function warningsOf({ manifest, state }: ModelRow): string[] {
  const { train_from: from, input } = JSON.parse(manifest) as {
    train_from?: string
    input: { features: { ref?: unknown }[] }
  }
  const without = input.features.filter(({ ref }) => ref === undefined).length
  return [
    ...(from === undefined ? ['the manifest does not say when its training data begins (train_from)'] : []),
    ...(without > 0
      ? [`${without} features have no reference distribution (ref): their drift cannot be watched`]
      : []),
    ...((state as ModelState) === 'RETIRED' ? ['this version was used before and was replaced'] : []),
  ]
}
