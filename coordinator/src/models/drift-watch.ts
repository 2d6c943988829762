import { createSerial } from '@understudy/shared/core/serial'
import { type Clock, hours, type Mono, minutes } from '@understudy/shared/core/time'
import {
  type DataQuality,
  type DriftLevel,
  FEWEST_EFFECTIVE,
  judgeWindow,
  ofBoth,
  qualityLevel,
  qualityNames,
  type SubjectDrift,
} from '@understudy/shared/models/drift'
import { lossDrift } from '@understudy/shared/models/loss-drift'
import type { Logger } from 'pino'
import type { Kysely, Schema } from '../storage/database.ts'
import type { AlertState, ModelAlerts } from './alerts.ts'
import {
  addLeft,
  addScores,
  type DriftCounts,
  noCounts,
  qualityOf,
  SCORE,
  subjectsOf,
} from './drift-counts.ts'
import type { LabelStore } from './label-store.ts'
import { toTime } from './model-store.ts'
import type { LeftOut } from './pool-features.ts'
import type { Scores } from './scoring.ts'
import type { ServedModel } from './served-model.ts'

/** Two blocks of every pool. */
const WINDOW = hours(24)
/** A window with too few pools goes on, but not for ever. */
const LONGEST_WINDOW = hours(24 * 7)
const SAVED = minutes(30)
/** Losses of so long are compared; what lies further back is no measure of the present. */
export const LOSSES_KEPT = hours(24 * 90)
/** Of this many models at once. */
const MOST_OPEN = 20
/** A fallback and back again takes less: what is known of a model is not forgotten for it. */
const FORGOTTEN = hours(1)

/** Compares what models are given and say with their training, and their losses with what they were. */
export interface DriftWatch {
  /** The models that a pass asks. Alerts about those that nobody has asked for an hour are closed. */
  asks(modelIds: readonly string[]): Promise<void>
  /** What a run has asked and answered. */
  seen(scores: Scores): Promise<void>
  /** A run has asked nothing: no pool had what the model needs. */
  seenNone(model: ServedModel, left: Iterable<LeftOut>): Promise<void>
  /** New losses of a model are known. */
  onBlocks(modelId: string): Promise<void>
  /** Of the last window of a model. */
  last(modelId: string): Promise<DriftResult | undefined>
}

export interface DriftResult {
  readonly from: number
  readonly to: number
  readonly rows: number
  readonly effective: number
  /** False: too few independent rows to say anything. */
  readonly enough: boolean
  readonly subjects: readonly SubjectDrift[]
  readonly quality: DataQuality
}

interface OpenWindow {
  readonly from: number
  readonly counts: DriftCounts
  saved: number
}

export function createDriftWatch(parts: {
  readonly db: Kysely<Schema>
  readonly labels: Pick<LabelStore, 'blocks'>
  readonly alerts: Pick<ModelAlerts, 'set' | 'closeOthers'>
  readonly clock: Clock
  readonly log: Logger
}): DriftWatch {
  const { db, labels, alerts, clock, log } = parts
  const windows = new Map<string, OpenWindow>()
  const inOrder = createSerial()
  const began = clock.mono()
  const askedAt = new Map<string, Mono>()

  /** After a start nobody knows yet which models are asked. */
  const isWatched = (modelId: string): boolean => clock.mono() - (askedAt.get(modelId) ?? began) < FORGOTTEN

  async function windowOf(modelId: string, now: number): Promise<OpenWindow> {
    const known = windows.get(modelId)
    if (known) return known
    const row = await db
      .selectFrom('drift_windows')
      .selectAll()
      .where('model_id', '=', modelId)
      .where('to_at', 'is', null)
      .orderBy('from_at', 'desc')
      .limit(1)
      .executeTakeFirst()
    const opened = row
      ? { from: row.from_at, counts: JSON.parse(row.counts) as DriftCounts, saved: now }
      : { from: now, counts: noCounts(), saved: 0 }
    if (windows.size >= MOST_OPEN) windows.delete([...windows.keys()][0] ?? '')
    windows.set(modelId, opened)
    return opened
  }

  const save = (
    modelId: string,
    { from, counts }: OpenWindow,
    result: DriftResult | null,
  ): Promise<unknown> => {
    const values = {
      to_at: result ? result.to : null,
      rows: counts.rows,
      effective: counts.effective,
      counts: JSON.stringify(counts),
      result: result && JSON.stringify(result),
    }
    return db
      .insertInto('drift_windows')
      .values({ model_id: modelId, from_at: from, ...values })
      .onConflict((conflict) => conflict.columns(['model_id', 'from_at']).doUpdateSet(values))
      .execute()
  }

  async function last(modelId: string): Promise<DriftResult | undefined> {
    const row = await db
      .selectFrom('drift_windows')
      .select('result')
      .where('model_id', '=', modelId)
      .where('to_at', 'is not', null)
      .orderBy('from_at', 'desc')
      .limit(1)
      .executeTakeFirst()
    return row?.result ? (JSON.parse(row.result) as DriftResult) : undefined
  }

  async function close(model: ServedModel, window: OpenWindow, now: number): Promise<void> {
    const { counts, from } = window
    const enough = counts.effective >= FEWEST_EFFECTIVE
    const before = await last(model.id)
    const result: DriftResult = {
      ...{ from, to: now, rows: counts.rows, effective: counts.effective, enough },
      subjects: enough ? judgeWindow(subjectsOf(counts, model.manifest), counts.effective) : [],
      quality: qualityOf(counts, model.manifest),
    }
    await save(model.id, window, result)
    windows.delete(model.id)
    log.info({ event: 'model.drift_window', model: model.id, rows: counts.rows, effective: counts.effective })
    if (enough) await judgeSubjects(model.id, result, before)
    await judgeQuality(model.id, result, before)
  }

  async function judgeSubjects(id: string, now: DriftResult, before: DriftResult | undefined): Promise<void> {
    const earlier = new Map(before?.subjects.map(({ subject, level }) => [subject, level]))
    for (const { subject, level, psi, ...facts } of now.subjects) {
      const both = ofBoth(level, earlier.get(subject))
      const kind = subject === SCORE ? 'SCORE_DRIFT' : 'FEATURE_DRIFT'
      const what = subject === SCORE ? 'the scores are' : `the feature ${subject} is`
      await alerts.set(
        id,
        kind,
        subject,
        stateOf(both, `${what} not distributed as in training (PSI ${psi.toFixed(3)} in two windows)`, {
          psi,
          ...facts,
        }),
      )
    }
  }

  async function judgeQuality(id: string, now: DriftResult, before: DriftResult | undefined): Promise<void> {
    for (const name of qualityNames) {
      // Where nothing was asked only that is known.
      if (now.rows === 0 && name !== 'stale') continue
      const share = now.quality[name]
      const both = ofBoth(qualityLevel(name, share), before && qualityLevel(name, before.quality[name]))
      const said = `${(100 * share).toFixed(1)} % ${QUALITY_SAID[name]}, in two windows`
      await alerts.set(id, 'DATA_QUALITY', name, stateOf(both, said, { share }))
    }
  }

  async function add(model: ServedModel, count: (counts: DriftCounts) => void): Promise<void> {
    const now = clock.now()
    const window = await windowOf(model.id, now)
    count(window.counts)
    const age = now - window.from
    if (age >= LONGEST_WINDOW || (age >= WINDOW && isFull(window.counts))) return close(model, window, now)
    if (now - window.saved < SAVED) return
    window.saved = now
    await save(model.id, window, null)
  }

  return {
    last,
    asks: (modelIds) =>
      inOrder(async () => {
        for (const id of modelIds) askedAt.set(id, clock.mono())
        for (const id of askedAt.keys()) if (!isWatched(id)) askedAt.delete(id)
        if (clock.mono() - began < FORGOTTEN) return
        await alerts.closeOthers(new Set(askedAt.keys()), 'nobody has asked this model for an hour')
      }),
    seen: (scores) => inOrder(() => add(scores.prediction.model, (counts) => addScores(counts, scores))),
    seenNone: (model, left) => inOrder(() => add(model, (counts) => addLeft(counts, left))),
    async onBlocks(modelId) {
      const blocks = await labels.blocks(modelId, clock.now() - LOSSES_KEPT)
      const found = lossDrift(
        blocks.map(({ block_at: at, pool_group: group, brier }) => ({ at, group, brier })),
      )
      const { level, since, before, after } = found
      if (level === 'improved') log.info({ event: 'model.loss_improved', model: modelId, before, after })
      const said = `its Brier loss has risen from ${before?.toFixed(5)} to ${after?.toFixed(5)}, noticed in the block of ${toTime(since ?? 0)}`
      const state = level === 'improved' ? undefined : stateOf(level, said, { ...found })
      // Labels come for days after the last question: nobody need worry then.
      if (state && !isWatched(modelId)) return
      await alerts.set(modelId, 'LOSS_DRIFT', 'loss', state)
    },
  }
}

/** Whoever waits for more rows while most prices are too old waits for what does not come. */
const isFull = ({ effective, rows, stale }: DriftCounts): boolean =>
  effective >= FEWEST_EFFECTIVE || stale > rows

const QUALITY_SAID: Readonly<Record<keyof DataQuality, string>> = {
  missing: 'of a feature is missing that training had',
  out_of_range: 'of features are outside of what training had seen',
  gap_filled: 'of the look-back has no real prices',
  stale: 'of pools had a price that was too old to be asked about',
  unseen_family: 'of predictions are of families that training had not seen',
}

const stateOf = (level: DriftLevel, said: string, facts: AlertState['facts']): AlertState | undefined =>
  level === 'ok' ? undefined : { severity: level, said, facts }
