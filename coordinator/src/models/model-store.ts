import { createHash } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import type { ModelManifest } from '@understudy/shared/protocol/model-manifest'
import type {
  ActivationView,
  ModelFacts,
  ModelState,
  ModelView,
  Qualification,
} from '@understudy/shared/protocol/models'
import {
  comesAfter,
  type Kysely,
  type ModelActivationRow,
  type ModelRow,
  type Position,
  type Schema,
  type Transaction,
} from '../storage/database.ts'
import { allLines, append, type Change, formerOf, headsOf } from './ledger.ts'
import type { ServedModel } from './served-model.ts'
import { isUsable, mayBecome, stateFor } from './states.ts'

/** How many versions keep their files, beside those that something refers to. */
const KEPT = 10

/** What makes a version: its files and what is said of them. The order of keys in the manifest is of no account. */
export function identityOf(manifest: ModelManifest, modelSha: string, scalerSha: string | null): string {
  const hash = createHash('sha256')
  hash.update(`${modelSha}\n${scalerSha ?? ''}\n${canonical(manifest)}`)
  return `model-${hash.digest('hex').slice(0, 16)}`
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, of]) => `${JSON.stringify(key)}:${canonical(of)}`).join(',')}}`
}

export const manifestOf = (row: ModelRow): ModelManifest => JSON.parse(row.manifest) as ModelManifest
export const qualificationOf = (row: ModelRow): Qualification | null =>
  row.qualification === null ? null : (JSON.parse(row.qualification) as Qualification)
export const factsOf = (row: ModelRow): ModelFacts | null =>
  row.facts === null ? null : (JSON.parse(row.facts) as ModelFacts)

export const servedModel = (row: ModelRow): ServedModel => ({
  id: row.id,
  sha256: row.model_sha256,
  manifest: manifestOf(row),
  qualification: qualificationOf(row),
})

export const toTime = (at: number): string => new Date(at).toISOString()

export const modelView = (row: ModelRow, aliases: readonly string[]): ModelView => ({
  model_id: row.id,
  name: row.name,
  version: row.version,
  trained_until: row.trained_until,
  state: row.state as ModelState,
  state_reason: row.state_reason,
  status: aliases.includes('active') ? 'active' : 'inactive',
  aliases: [...aliases],
  sha256: row.model_sha256,
  size_bytes: row.size_bytes,
  artifact_kept: row.artifact_kept === 1,
  uploaded_by: row.uploaded_by,
  uploaded_at: toTime(row.uploaded_at),
  activated_at: row.activated_at === null ? null : toTime(row.activated_at),
})

export const activationView = (row: ModelActivationRow): ActivationView => ({
  seq: row.seq,
  at: toTime(row.at),
  actor: row.actor,
  alias: row.alias,
  from_model_id: row.from_id,
  to_model_id: row.to_id,
  from_sha256: row.from_sha,
  to_sha256: row.to_sha,
  reason: row.reason,
  prev_hash: row.prev_hash,
  hash: row.hash,
})

/** What is known of models. Every method is one transaction. */
export interface ModelStore {
  /** The latest first. */
  list(before: Position | undefined, limit: number): Promise<readonly ModelRow[]>
  find(id: string): Promise<ModelRow | undefined>
  /** The one that holds a name and version. */
  findVersion(name: string, version: string): Promise<ModelRow | undefined>
  findName(name: string): Promise<readonly ModelRow[]>
  /** New, or received again after it was refused. @throws AppError `conflict` when the name and version are taken */
  receive(row: ModelRow): Promise<void>
  /** Takes back what was received, and puts what stood in its place before there again. */
  withdraw(id: string, before: ModelRow | undefined): Promise<void>
  change(id: string, to: ModelState, values: Partial<ModelRow>): Promise<void>
  ledger(): Promise<readonly ModelActivationRow[]>
  /** All aliases that point to each version, `previous` with them. */
  aliases(): Promise<ReadonlyMap<string, readonly string[]>>
  /** To what a fallback of the active version goes, the best first. */
  former(): Promise<readonly ModelRow[]>
  /**
   * Points an alias to another version: the line of the ledger, the states of both, and the sessions of uploads.
   * @param fallen what becomes of the one that it pointed to, other than that nothing points to it
   */
  point(
    alias: string,
    to: string | null,
    by: Pick<Change, 'actor' | 'reason'>,
    fallen?: Fallen,
  ): Promise<ModelActivationRow>
  /** Versions whose files nobody needs any more are marked so. Returns the files that are left to nobody. */
  release(ids: readonly string[]): Promise<readonly string[]>
  /** Those which are neither among the last ten nor referred to. */
  outdated(): Promise<readonly string[]>
}

export interface Fallen {
  readonly state: ModelState
  readonly reason: string
}

export function createModelStore(db: Kysely<Schema>, clock: Clock): ModelStore {
  const find = (id: string, from: Kysely<Schema> = db) =>
    from.selectFrom('models').selectAll().where('id', '=', id).executeTakeFirst()

  async function aliasesOf(from: Kysely<Schema>): Promise<Map<string, string[]>> {
    const lines = await allLines(from)
    const all = new Map<string, string[]>()
    for (const [alias, id] of headsOf(lines)) all.set(id, [...(all.get(id) ?? []), alias])
    const [previous] = await usable(from, formerOf(lines, 'active'))
    if (previous) all.set(previous.id, [...(all.get(previous.id) ?? []), 'previous'])
    return all
  }

  /** In the given order. */
  async function usable(from: Kysely<Schema>, ids: readonly string[]): Promise<ModelRow[]> {
    if (ids.length === 0) return []
    const rows = await from.selectFrom('models').selectAll().where('id', 'in', ids.slice(0, 100)).execute()
    const byId = new Map(rows.map((row) => [row.id, row]))
    return ids
      .map((id) => byId.get(id))
      .filter((row) => row !== undefined)
      .filter((row) => row.artifact_kept === 1 && isUsable(row.state as ModelState))
  }

  async function findUsable(trx: Transaction<Schema>, id: string): Promise<ModelRow> {
    const row = await find(id, trx)
    if (row && row.artifact_kept === 1 && isUsable(row.state as ModelState)) return row
    throw new AppError('conflict', `the model ${id} cannot be used any more`, {
      hint: 'Its files were removed or it was found faulty meanwhile: GET /api/v1/ml/models/list.',
    })
  }

  /** What each of the two is now, by what points to it. */
  async function settleStates(
    trx: Transaction<Schema>,
    change: {
      old: ModelRow | undefined
      row: ModelRow | undefined
      fallen: Fallen | undefined
      activatedAt: number | undefined
    },
  ): Promise<void> {
    const { old, row, fallen, activatedAt } = change
    const all = await aliasesOf(trx)
    const stateNow = (id: string) => stateFor((all.get(id) ?? []).filter((alias) => alias !== 'previous'))
    const set = (id: string, values: Partial<ModelRow>) =>
      trx.updateTable('models').set(values).where('id', '=', id).execute()
    if (old && old.id !== row?.id)
      await set(
        old.id,
        fallen ? { state: fallen.state, state_reason: fallen.reason } : { state: stateNow(old.id) },
      )
    if (!row) return
    const activated = activatedAt === undefined ? {} : { activated_at: activatedAt }
    await set(row.id, { state: stateNow(row.id), state_reason: null, ...activated })
  }

  return {
    list(before, limit) {
      return db
        .selectFrom('models')
        .selectAll()
        .where(comesAfter(before, { at: 'uploaded_at', id: 'id' }))
        .orderBy('uploaded_at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit)
        .execute()
    },
    find,
    findVersion: (name, version) =>
      db
        .selectFrom('models')
        .selectAll()
        .where('name', '=', name)
        .where('version', '=', version)
        .where('holds_name', '=', 1)
        .executeTakeFirst(),
    findName: (name) =>
      db.selectFrom('models').selectAll().where('name', '=', name).where('holds_name', '=', 1).execute(),
    receive: (row) =>
      db.transaction().execute(async (trx) => {
        const holder = await trx
          .selectFrom('models')
          .select('id')
          .where('name', '=', row.name)
          .where('version', '=', row.version)
          .where('holds_name', '=', 1)
          .where('id', '<>', row.id)
          .executeTakeFirst()
        if (holder) throw versionTaken(row, holder.id)
        await trx.deleteFrom('models').where('id', '=', row.id).execute()
        await trx.insertInto('models').values(row).execute()
      }),
    withdraw: (id, before) =>
      db.transaction().execute(async (trx) => {
        await trx.deleteFrom('models').where('id', '=', id).execute()
        if (before) await trx.insertInto('models').values(before).execute()
      }),
    change: (id, to, values) =>
      db.transaction().execute(async (trx) => {
        const row = await find(id, trx)
        if (!row) throw noModel(id)
        if (!mayBecome(row.state as ModelState, to))
          throw new AppError('internal', `${id} is ${row.state} and cannot become ${to}`)
        await trx
          .updateTable('models')
          .set({ ...values, state: to })
          .where('id', '=', id)
          .execute()
      }),
    ledger: () => allLines(db),
    aliases: () => aliasesOf(db),
    async former() {
      return usable(db, formerOf(await allLines(db), 'active'))
    },
    point: (alias, to, by, fallen) =>
      db.transaction().execute(async (trx) => {
        const now = clock.now()
        const before = headsOf(await allLines(trx)).get(alias)
        const old = before === undefined ? undefined : await find(before, trx)
        const row = to === null ? undefined : await findUsable(trx, to)
        const line = await append(trx, { ...by, at: now, alias, from: endOf(old), to: endOf(row) })
        await settleStates(trx, { old, row, fallen, activatedAt: alias === 'active' ? now : undefined })
        if (alias === 'active') await markSessions(trx, row?.id, fallen ? undefined : old?.id, now)
        return line
      }),
    release: (ids) =>
      db.transaction().execute(async (trx) => {
        const files: string[] = []
        for (const id of ids) {
          const row = await find(id, trx)
          if (!row || row.artifact_kept === 0) continue
          await trx.updateTable('models').set({ artifact_kept: 0 }).where('id', '=', id).execute()
          files.push(row.model_sha256, ...(row.scaler_sha256 === null ? [] : [row.scaler_sha256]))
        }
        const kept = await trx
          .selectFrom('models')
          .select(['model_sha256', 'scaler_sha256'])
          .where('artifact_kept', '=', 1)
          .execute()
        const needed = new Set(kept.flatMap((row) => [row.model_sha256, row.scaler_sha256]))
        return files.filter((file) => !needed.has(file))
      }),
    async outdated() {
      const kept = await db
        .selectFrom('models')
        .select('id')
        .where('artifact_kept', '=', 1)
        .orderBy('uploaded_at', 'desc')
        .execute()
      const referred = await aliasesOf(db)
      return kept
        .slice(KEPT)
        .map(({ id }) => id)
        .filter((id) => !referred.has(id))
    },
  }
}

const endOf = (row: ModelRow | undefined): Change['from'] =>
  row ? { id: row.id, sha: row.model_sha256 } : null

/** The latest upload of each version stands for it on the operator's page. */
async function markSessions(
  trx: Transaction<Schema>,
  live: string | undefined,
  fallback: string | undefined,
  now: number,
): Promise<void> {
  await trx.updateTable('model_upload_sessions').set({ is_live: 0, is_fallback: 0 }).execute()
  const latest = (id: string) =>
    trx
      .selectFrom('model_upload_sessions')
      .select('id')
      .where('model_id', '=', id)
      .where('status', 'in', ['uploaded', 'activated'])
      .orderBy('created_at', 'desc')
      .limit(1)
      .executeTakeFirst()
  const session = live === undefined ? undefined : await latest(live)
  if (session)
    await trx
      .updateTable('model_upload_sessions')
      .set({ is_live: 1, status: 'activated', activated_at: now })
      .where('id', '=', session.id)
      .execute()
  const old = fallback === undefined ? undefined : await latest(fallback)
  if (old && old.id !== session?.id)
    await trx.updateTable('model_upload_sessions').set({ is_fallback: 1 }).where('id', '=', old.id).execute()
}

export const versionTaken = (
  { name, version }: Pick<ModelRow, 'name' | 'version'>,
  holder: string,
): AppError =>
  new AppError('conflict', `${name} ${version} is there already, with other bytes or another manifest`, {
    hint: 'A version never changes: give the new file a new version.',
    facts: { model_id: holder },
  })

export const noModel = (id: string): AppError =>
  new AppError('not_found', `there is no model ${id}`, { hint: 'GET /api/v1/ml/models/list lists them.' })
