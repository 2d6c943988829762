import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import type { Clock } from '@understudy/shared/core/time'
import type { ModelManifest } from '@understudy/shared/protocol/model-manifest'
import type { ActivationResult, ModelState } from '@understudy/shared/protocol/models'
import type { Logger } from 'pino'
import type { ModelRow } from '../storage/database.ts'
import type { ArtifactStore, Incoming } from './artifacts.ts'
import { qualificationLimits } from './host/limits.ts'
import { type ModelHost, startHost } from './host/model-host.ts'
import { identityOf, type ModelStore, noModel, servedModel, versionTaken } from './model-store.ts'
import { prepareHost } from './prepared-host.ts'
import { qualify } from './qualification.ts'
import { modelRefused, refusalOf } from './refusal.ts'
import type { ModelFiles, ServedModel } from './served-model.ts'
import type { Serving } from './serving.ts'
import type { Trouble } from './slot.ts'
import { isUsable } from './states.ts'

/** What an upload brings, whole and hashed. */
export interface Received {
  readonly manifest: ModelManifest
  readonly model: { readonly file: Incoming; readonly sha256: string }
  readonly scaler: { readonly file: Incoming; readonly sha256: string } | undefined
  readonly actor: string
}

export interface RegistryPorts {
  readonly store: ModelStore
  readonly artifacts: ArtifactStore
  readonly serving: () => Serving
  readonly clock: Clock
  readonly log: Logger
  /** What else refers to a version, as `experiment 12`. */
  readonly referrers?: (id: string) => Promise<readonly string[]>
}

/** Takes versions in, lets them go, and says which of them counts. */
export interface Registry {
  /** @throws AppError `conflict`, `model_refused` (then nothing is kept but why), `unavailable` (then nothing at all) */
  add(received: Received): Promise<{ readonly row: ModelRow; readonly created: boolean }>
  /** @throws AppError `not_found`, `not_ready`, `model_refused`; then the one of before still serves */
  activate(id: string, actor: string, reason: string): Promise<ActivationResult>
  /** Back to what was active before; done twice it ends where it began. @throws AppError `conflict` when there is none */
  rollBack(actor: string, reason: string): Promise<ActivationResult>
  /** By itself, for what is seen of a version that serves. */
  onTrouble(alias: string, model: ServedModel, trouble: Trouble): void
  /** Lets an alias such as `shadow:a` or `lab:i-1` point to a version, or to nothing. */
  assign(alias: string, id: string | null, actor: string, reason: string): Promise<void>
  /** Removes its files; what is said of it stays. @throws AppError `conflict` with what uses it */
  remove(id: string): Promise<ModelRow>
  prepare(model: ServedModel): Promise<ModelHost>
  /** What was under way when the coordinator ended. */
  recover(): Promise<void>
  /** Resolves when nothing is being changed. */
  settled(): Promise<void>
}

export function createRegistry(ports: RegistryPorts): Registry {
  const { store, artifacts, clock, log } = ports
  /** Trials, one after another: there are few cores. */
  const inTurn = createSerial()
  /** What changes the ledger and the pointer. Nothing slow happens in there. */
  const committing = createSerial()
  /** What is not left half done when the coordinator ends: it takes no longer than a process takes to start. */
  const underWay = new Set<Promise<unknown>>()

  async function track<T>(work: Promise<T>): Promise<T> {
    underWay.add(work)
    try {
      return await work
    } finally {
      underWay.delete(work)
    }
  }

  async function filesOf(model: ServedModel): Promise<ModelFiles> {
    const { scaler } = model.manifest
    return {
      model: await artifacts.read(model.sha256),
      scaler: scaler ? await artifacts.read(scaler.sha256) : undefined,
    }
  }

  const prepare = (model: ServedModel): Promise<ModelHost> => prepareHost(model, filesOf, clock)

  async function trial(row: ModelRow, files: ModelFiles): Promise<void> {
    const model = servedModel(row)
    const host = startHost({ limits: qualificationLimits, clock })
    try {
      const { facts, qualification } = await qualify(host, model.manifest, files, clock, async (found) => {
        await store.change(row.id, 'SCANNED', { facts: JSON.stringify(found) })
      })
      await store.change(row.id, 'QUALIFIED', {
        facts: JSON.stringify(facts),
        qualification: JSON.stringify(qualification),
      })
    } finally {
      await host.close()
    }
  }

  /** Where it never served, the name and version are free again. */
  async function refuse(row: ModelRow, error: unknown): Promise<void> {
    const reason = `${refusalOf(error) ?? 'FAILED'}: ${messageOf(error)}`.slice(0, 1000)
    await store.change(row.id, 'QUARANTINED', {
      holds_name: row.activated_at === null ? 0 : 1,
      state_reason: reason,
    })
    await forget([row.id])
    log.warn({ event: 'model.refused', model: row.id, name: row.name, version: row.version, reason })
  }

  /** A file that cannot be removed now is left: it is named by its content, and the same upload finds it again. */
  async function forget(ids: readonly string[]): Promise<void> {
    for (const sha256 of await store.release(ids))
      await artifacts.remove(sha256).catch((error: unknown) => {
        log.warn({ event: 'model.file_left', sha256, why: messageOf(error) })
      })
  }

  /** What went wrong says nothing of the model: as if it had not been uploaded. */
  async function withdraw(row: ModelRow, before: ModelRow | undefined, error: unknown): Promise<void> {
    await forget([row.id])
    await store.withdraw(row.id, before)
    log.warn({ event: 'model.not_taken', name: row.name, version: row.version, why: messageOf(error) })
  }

  /** @throws AppError `unavailable`, whoever of its operators has to do something about the store */
  async function keep({ model, scaler }: Received): Promise<void> {
    try {
      await model.file.keep()
      await scaler?.file.keep()
    } catch (error) {
      if (!isAppError(error)) throw error
      throw new AppError('unavailable', `the model could not be kept: ${error.message}`, {
        hint: error.hint ?? 'Nothing of it was kept: send the same upload again.',
        retryable: true,
        cause: error,
      })
    }
  }

  async function takeIn(received: Received): Promise<{ row: ModelRow; created: boolean }> {
    const { manifest, model, scaler, actor } = received
    const id = identityOf(manifest, model.sha256, scaler?.sha256 ?? null)
    const known = await store.find(id)
    if (known && known.state !== 'QUARANTINED') {
      if (known.artifact_kept === 0) {
        await keep(received)
        await store.change(id, known.state as ModelState, { artifact_kept: 1, state_reason: null })
      }
      return { row: (await store.find(id)) ?? known, created: false }
    }
    const holder = await store.findVersion(manifest.name, manifest.version)
    if (holder && holder.id !== id) throw versionTaken(holder, holder.id)
    const row: ModelRow = {
      id,
      name: manifest.name,
      version: manifest.version,
      holds_name: 1,
      state: 'RECEIVED',
      state_reason: null,
      model_sha256: model.sha256,
      scaler_sha256: scaler?.sha256 ?? null,
      size_bytes: model.file.bytes + (scaler?.file.bytes ?? 0),
      manifest: JSON.stringify(manifest),
      facts: null,
      qualification: null,
      trained_until: manifest.trained_until,
      artifact_kept: 1,
      uploaded_by: actor,
      uploaded_at: clock.now(),
      activated_at: known?.activated_at ?? null,
    }
    await store.receive(row)
    const failed = async (error: unknown): Promise<never> => {
      if (refusalOf(error)) await refuse(row, error)
      else await withdraw(row, known, error)
      throw error
    }
    const files = await track(
      keep(received)
        .then(() => filesOf(servedModel(row)))
        .catch(failed),
    )
    await trial(row, files).catch(failed)
    await forget(await store.outdated())
    log.info({ event: 'model.qualified', model: id, name: row.name, version: row.version })
    return { row: (await store.find(id)) ?? row, created: true }
  }

  /** @throws AppError `not_found`, `not_ready` */
  async function usableRow(id: string): Promise<ModelRow> {
    const row = await store.find(id)
    if (!row) throw noModel(id)
    if (!isUsable(row.state as ModelState))
      throw new AppError(
        'not_ready',
        `${row.name} ${row.version} is ${row.state}${row.state_reason ? ` (${row.state_reason})` : ''}`,
        {
          hint: 'Only a version that has passed its trial can be used. Correct it and upload it under a new version.',
        },
      )
    if (row.artifact_kept === 0)
      throw new AppError('not_ready', `the files of ${row.name} ${row.version} are no longer kept`, {
        hint: 'Upload the same files again: they become the same version.',
      })
    return row
  }

  const resultOf = (
    row: ModelRow,
    start: number,
    change: { previous: string | null; seq: number | null },
  ): ActivationResult => ({
    status: change.seq === null ? 'unchanged' : 'activated',
    model_id: row.id,
    name: row.name,
    version: row.version,
    previous_model_id: change.previous,
    took_ms: clock.mono() - start,
    seq: change.seq,
  })

  async function activateRow(
    row: ModelRow,
    actor: string,
    reason: string,
    start: number,
  ): Promise<ActivationResult> {
    const serving = ports.serving()
    const isActive = () => serving.active?.id === row.id
    if (isActive()) return resultOf(row, start, { previous: null, seq: null })
    const model = servedModel(row)
    const host = serving.isWarm(row.id) ? undefined : await prepare(model)
    return committing(async () => {
      if (isActive()) {
        await host?.close()
        return resultOf(row, start, { previous: null, seq: null })
      }
      try {
        const line = await store.point('active', row.id, { actor, reason })
        serving.activate(model, host)
        log.info({ event: 'model.activated', model: row.id, from: line.from_id, actor, reason })
        return resultOf(row, start, { previous: line.from_id, seq: line.seq })
      } catch (error) {
        await host?.close()
        throw error
      }
    })
  }

  /** The first version of before that starts; undefined when there is none. */
  async function firstThatStarts(
    model: ServedModel,
  ): Promise<{ back: ServedModel; host: ModelHost | undefined } | undefined> {
    for (const row of await store.former()) {
      const back = servedModel(row)
      if (back.id === model.id) continue
      if (ports.serving().isWarm(back.id)) return { back, host: undefined }
      try {
        return { back, host: await prepare(back) }
      } catch (error) {
        log.warn({ event: 'model.not_started', model: back.id, why: messageOf(error) })
      }
    }
    return undefined
  }

  /** A version whose answers are wrong is not used again; one that only ends or is slow may be, by an operator. */
  async function heal(model: ServedModel, trouble: Trouble): Promise<void> {
    const serving = ports.serving()
    const reason = `taken back by itself: ${trouble.said}`
    const faulty = trouble.reason !== 'HOST_DIED' && trouble.reason !== 'TOO_SLOW'
    const fallen = {
      state: faulty ? 'QUARANTINED' : 'RETIRED',
      reason: `${trouble.reason}: ${trouble.said}`,
    } as const
    const target = await firstThatStarts(model)
    if (!target && !faulty) {
      log.error({
        event: 'model.trouble',
        model: model.id,
        ...trouble,
        note: 'there is no version to go back to',
      })
      return
    }
    await committing(async () => {
      if (serving.active?.id !== model.id) return void (await target?.host?.close())
      const line = await store.point(
        'active',
        target?.back.id ?? null,
        { actor: 'coordinator', reason },
        fallen,
      )
      if (target) serving.activate(target.back, target.host, false)
      else serving.deactivate()
      log.error({ event: 'model.rolled_back', from: model.id, to: line.to_id, ...trouble })
    })
  }

  /** To the processes, what the ledger says. */
  function serve(row: ModelRow, aliases: readonly string[]): void {
    const serving = ports.serving()
    for (const alias of aliases)
      if (alias === 'active') serving.activate(servedModel(row), undefined)
      else if (alias !== 'previous') serving.assign(alias, servedModel(row), undefined)
  }

  return {
    add: (received) => inTurn(() => takeIn(received)),
    async activate(id, actor, reason) {
      const start = clock.mono()
      return activateRow(await usableRow(id), actor, reason, start)
    },
    async rollBack(actor, reason) {
      const start = clock.mono()
      const [target] = await store.former()
      if (!target)
        throw new AppError('conflict', 'there is no version to go back to', {
          hint: 'A fallback needs a version that was active before and whose files are kept.',
        })
      return activateRow(target, actor, reason, start)
    },
    onTrouble(alias, model, trouble) {
      if (alias !== 'active') {
        log.warn({ event: 'model.trouble', alias, model: model.id, ...trouble })
        return
      }
      void track(
        heal(model, trouble).catch((error: unknown) =>
          log.error({ event: 'model.not_rolled_back', model: model.id, err: error }),
        ),
      )
    },
    async assign(alias, id, actor, reason) {
      if (!/^(shadow|lab):[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(alias))
        throw new AppError('input_invalid', `${alias} is no alias that can be assigned`)
      const model = id === null ? undefined : servedModel(await usableRow(id))
      const host = model ? await prepare(model) : undefined
      await committing(async () => {
        try {
          await store.point(alias, id, { actor, reason })
        } catch (error) {
          await host?.close()
          throw error
        }
        ports.serving().assign(alias, model, host)
      })
    },
    // Not while an upload may bring the same files.
    remove: (id) =>
      inTurn(async () => {
        const row = await store.find(id)
        if (!row) throw noModel(id)
        const users = [...((await store.aliases()).get(id) ?? []), ...((await ports.referrers?.(id)) ?? [])]
        if (users.length > 0)
          throw new AppError('conflict', `${row.name} ${row.version} is in use: ${users.join(', ')}`, {
            hint: 'Activate or assign another version first.',
            facts: { used_by: users },
          })
        await forget([id])
        return (await store.find(id)) ?? row
      }),
    prepare,
    async recover() {
      // First what answers: to remove a file from a bucket that hangs takes minutes.
      for (const [id, aliases] of await store.aliases()) {
        const row = await store.find(id)
        if (row) serve(row, aliases)
      }
      for (const row of await store.list(undefined, 1000))
        if (row.state === 'RECEIVED' || row.state === 'SCANNED')
          await refuse(
            row,
            modelRefused('HOST_DIED', 'the coordinator ended during its trial; upload it again'),
          )
    },
    async settled() {
      await Promise.allSettled(underWay)
      await committing(() => undefined)
    },
  }
}
