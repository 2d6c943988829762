import { randomUUID } from 'node:crypto'
import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import type { Service } from '@understudy/shared/core/service'
import {
  type Clock,
  everyPeriod,
  hours,
  type Instant,
  instant,
  type Millis,
  millis,
  minutes,
  plus,
  seconds,
  sleep,
} from '@understudy/shared/core/time'
import type { GapFillTask } from '@understudy/shared/protocol/model-data'
import type { Logger } from 'pino'
import type { Backfill, FetchRequest, Market } from '../market/market.ts'
import type { Kysely, ModelGapFillRow, ModelRow, Position, Schema } from '../storage/database.ts'
import {
  type AskedFetch,
  type CoveredPool,
  type DataGap,
  dataGap,
  planFill,
  type TypeInRegion,
} from './data-gap.ts'
import type { GapFillerSettings } from './gap-filler-settings.ts'
import { createGapTaskStore, fetchesOf, mustFindTask, scopeOf, type TaskFetch } from './gap-task-store.ts'
import { noModel } from './model-store.ts'
import type { Models } from './models.ts'

/** What is asked for, where it is not what the settings say. */
export interface GapAsk {
  /** The active model when it is not given. */
  readonly modelId?: string | undefined
  readonly instanceTypes?: readonly string[] | undefined
  readonly regions?: readonly string[] | undefined
}

export interface GapAnalysis {
  readonly model: ModelRow
  readonly gap: DataGap
  /** The fill under way for it. */
  readonly task: string | null
}

/**
 * Knows which prices a model lacks between its training and now, and lets the market fetch them. One fill is under way at a
 * time; after a restart it goes on where it was.
 */
export interface ModelGapFiller extends Service {
  /** @throws AppError `not_ready` when no model is active, `not_found`, `input_invalid` */
  analyze(ask: GapAsk): Promise<GapAnalysis>
  /** The same of each of these models with the scope of the settings. At most half a minute old. */
  analyses(models: readonly ModelRow[]): Promise<ReadonlyMap<string, GapAnalysis>>
  /** @throws as `analyze`; AppError `not_supported` without a source of prices, `busy` while one is under way */
  fill(ask: GapAsk, trigger: GapFillTask['trigger'], actor: string): Promise<ModelGapFillRow>
  task(id: string): Promise<ModelGapFillRow>
  /** What was fetched stays. Cancelling one that has ended changes nothing. @throws AppError `not_found` */
  cancel(id: string): Promise<ModelGapFillRow>
  /** The latest first. */
  history(before: Position | undefined, limit: number): Promise<readonly ModelGapFillRow[]>
  /** The latest prices for the active model, where there is a source; says in a sentence what was begun. */
  refresh(actor: string): Promise<string>
}

export interface ModelGapFillerParts {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  readonly models: { readonly store: Models['store']; readonly serving: Pick<Models['serving'], 'active'> }
  readonly market: Pick<Market, 'pools' | 'coverageOf'>
  readonly typesInUse: (regions: readonly string[]) => Promise<readonly TypeInRegion[]>
  /** What fetches; undefined where there is no source of prices. */
  readonly backfill: Pick<Backfill, 'startFetch' | 'fetchStatus' | 'listFetches' | 'cancelFetch'> | undefined
  readonly settings: GapFillerSettings
}

const LOOK = seconds(5)
/** After the start the daily backfill is first: what it fetches is not fetched twice. */
const FIRST = seconds(30)
/** The daily backfill brings what is younger, and samples are there meanwhile. */
const FRESH = hours(26)
/** A fill fetches no less than this. */
const SHORTEST = hours(1)
const KEPT = seconds(30)
/** When a fill that nobody has asked for could not begin, it is tried again after this. */
const RETRY = minutes(1)
const FETCHES = 200

type Fetch = Awaited<ReturnType<Backfill['fetchStatus']>>

interface Facts {
  readonly now: Instant
  readonly wanted: readonly TypeInRegion[]
  readonly pools: readonly CoveredPool[]
  readonly asked: readonly AskedFetch[]
}

export function createModelGapFiller(parts: ModelGapFillerParts): ModelGapFiller {
  const { clock, log, models, market, settings } = parts
  const store = createGapTaskStore(parts.db)
  const inTurn = createSerial()
  const reach: Millis = millis(hours(24) * settings.daysMax)
  let kept: { readonly until: number; readonly facts: Promise<Facts> } | undefined
  let seen: string | undefined
  /** Before this it does not try by itself. */
  let again = clock.mono()

  async function wantedBy({ instanceTypes, regions }: GapAsk): Promise<readonly TypeInRegion[]> {
    const where = regions ?? settings.regions
    const types = instanceTypes ?? settings.instanceTypes
    if (types.length === 0) return parts.typesInUse(where)
    if (instanceTypes && where.length === 0)
      throw new AppError('input_invalid', 'no region is given, and none is set', {
        hint: 'Give regions, or set GAP_FILLER_REGIONS or AWS_REGION.',
      })
    return where.flatMap((region) => types.map((instanceType) => ({ instanceType, region })))
  }

  async function readFacts(wanted: readonly TypeInRegion[]): Promise<Facts> {
    const now = clock.now()
    const isWanted = new Set(wanted.map(({ instanceType, region }) => `${region} ${instanceType}`))
    const pools = (await market.pools()).filter(({ instanceType, region }) =>
      isWanted.has(`${region} ${instanceType}`),
    )
    const range = { from: instant(0), to: now }
    const covered = await market.coverageOf(
      pools.map(({ poolId }) => poolId),
      range,
    )
    return {
      now,
      wanted,
      pools: pools.map(({ poolId, instanceType, region }) => ({
        poolId,
        instanceType,
        region,
        covered: covered.get(poolId) ?? [],
      })),
      asked: await readAsked(),
    }
  }

  /** Only what the source could know when it was asked counts as asked. */
  async function readAsked(): Promise<AskedFetch[]> {
    const all = (await parts.backfill?.listFetches(FETCHES)) ?? []
    return all
      .filter(({ kind, status }) => kind !== 'import' && status !== 'failed' && status !== 'cancelled')
      .map(({ id, status, request, createdAt }) => {
        const { instanceTypes, regions, from, to } = request as FetchRequest
        const known = instant(Math.max(from, createdAt - reach))
        return { id, ended: status === 'done', instanceTypes, regions, from: known, to }
      })
  }

  const gapIn = ({ now, ...facts }: Facts, model: Pick<ModelRow, 'trained_until'>, slack: Millis): DataGap =>
    dataGap({ ...facts, now, trainedUntil: model.trained_until, reach, slack })

  function keptFacts(): Promise<Facts> {
    const now = clock.mono()
    if (!kept || now >= kept.until) {
      const facts = wantedBy({}).then(readFacts)
      kept = { until: now + KEPT, facts }
      facts.catch(() => (kept = undefined))
    }
    return kept.facts
  }

  async function modelOf(id: string | undefined): Promise<ModelRow> {
    const wanted = id ?? models.serving.active?.id
    if (wanted === undefined)
      throw new AppError('not_ready', 'no model is active', {
        hint: 'Activate one, or name one as model_id.',
      })
    const row = await models.store.find(wanted)
    if (!row) throw noModel(wanted)
    return row
  }

  function mustBackfill(): NonNullable<ModelGapFillerParts['backfill']> {
    if (parts.backfill) return parts.backfill
    throw new AppError('not_supported', 'this coordinator has no source to fetch prices from', {
      hint: 'Start it with AWS_REGION and credentials, or import a file: coordinator import prices FILE',
    })
  }

  /** Undefined when nothing can be fetched and nobody has asked for it by hand. */
  async function begin(
    ask: GapAsk,
    trigger: GapFillTask['trigger'],
    actor: string,
  ): Promise<ModelGapFillRow | undefined> {
    mustBackfill()
    const model = await modelOf(ask.modelId)
    const underWay = await store.underWay()
    if (underWay)
      throw new AppError('busy', `the fill ${underWay.id} is under way`, {
        hint: 'Wait for its end (GET /api/v1/ml/gap-filler/status/{task_id}), or cancel it.',
        retryable: true,
        facts: { task_id: underWay.id },
      })
    const wanted = await wantedBy(ask)
    const facts = await readFacts(wanted)
    const gap = gapIn(facts, model, SHORTEST)
    const plan = planFill(gap, facts.asked, reach)
    if (trigger !== 'manual' && plan.requests.length + plan.adopted.length === 0) return undefined
    const fetches: TaskFetch[] = [
      ...plan.requests.map((request) => ({ request, id: null })),
      ...plan.adopted.map((id) => ({ request: null, id })),
    ]
    const row: ModelGapFillRow = {
      id: `gap-fill-${randomUUID()}`,
      model_id: model.id,
      trigger,
      actor,
      status: 'in_progress',
      scope: JSON.stringify(wanted),
      fetches: JSON.stringify(fetches),
      missing_ms: gap.missingMillis,
      left_ms: null,
      unfillable_ms: gap.unfillableMillis,
      unfillable_from: gap.unfillable?.from ?? null,
      unfillable_to: gap.unfillable?.to ?? null,
      done: 0,
      total: 0,
      records: 0,
      readiness: null,
      error: null,
      created_at: clock.now(),
      ended_at: null,
    }
    await store.add(row)
    log.info({ event: 'model.gap_fill', task: row.id, model: model.id, trigger, fetches: fetches.length })
    await advance(row)
    return (await store.find(row.id)) ?? row
  }

  /** Those that a crash has kept from being started too. Undefined when it was cancelled meanwhile. */
  async function startFetches(row: ModelGapFillRow): Promise<readonly string[] | undefined> {
    const backfill = mustBackfill()
    const fetches = [...fetchesOf(row)]
    for (const [i, { id, request }] of fetches.entries()) {
      if (id !== null || !request) continue
      const started = await backfill.startFetch(request)
      fetches[i] = { request, id: started.id }
      if (await store.change(row.id, { fetches: JSON.stringify(fetches) })) continue
      await backfill.cancelFetch(started.id)
      return undefined
    }
    return fetches.map(({ id }) => id ?? '')
  }

  /** Doing it again changes nothing. What waiting does not mend ends the fill: none could begin after it otherwise. */
  async function advance(row: ModelGapFillRow): Promise<void> {
    try {
      await goOn(row)
    } catch (error) {
      if (!isAppError(error, 'input_invalid') && !isAppError(error, 'not_found')) throw error
      const why = messageOf(error).slice(0, 1000)
      const ended = { status: 'failed', error: why, ended_at: clock.now(), left_ms: row.missing_ms }
      if (!(await store.change(row.id, ended))) return
      log.warn({ event: 'model.gap_filled', task: row.id, model: row.model_id, status: 'failed', error: why })
    }
  }

  /** Starts what is not started, counts, and ends it when all of it has ended. */
  async function goOn(row: ModelGapFillRow): Promise<void> {
    const ids = await startFetches(row)
    if (!ids) return
    const states: Fetch[] = []
    for (const id of ids) states.push(await mustBackfill().fetchStatus(id))
    const sum = (of: (state: Fetch) => number) => states.reduce((total, state) => total + of(state), 0)
    const counts = {
      done: sum(({ done }) => done),
      total: sum(({ total }) => total),
      records: sum(({ rows }) => rows),
    }
    if (states.some(({ endedAt }) => endedAt === null)) await store.change(row.id, counts)
    else
      await end(
        row,
        counts,
        states.find(({ status }) => status !== 'done'),
      )
  }

  /** @param bad the first fetch that did not do all of its work */
  async function end(
    row: ModelGapFillRow,
    counts: Pick<ModelGapFillRow, 'done' | 'total' | 'records'>,
    bad: Fetch | undefined,
  ): Promise<void> {
    const model = await models.store.find(row.model_id)
    const gap = model && gapIn(await readFacts(scopeOf(row)), model, FRESH)
    const status = bad ? (bad.status === 'cancelled' ? 'cancelled' : 'failed') : 'completed'
    const error = bad ? (bad.error ?? `the fetch ${bad.id} was cancelled`).slice(0, 1000) : null
    const readiness = gap?.readiness ?? null
    kept = undefined
    const left_ms = Math.min(row.missing_ms, gap?.missingMillis ?? 0)
    if (
      !(await store.change(row.id, { ...counts, status, readiness, error, left_ms, ended_at: clock.now() }))
    )
      return
    const said = { event: 'model.gap_filled', task: row.id, model: row.model_id, status, readiness, error }
    if (status === 'failed') log.warn(said)
    else log.info({ ...said, records: counts.records })
  }

  /** By itself once for each version that becomes active, and the one that is at the start. */
  async function fillForActive(): Promise<void> {
    const id = models.serving.active?.id
    if (!settings.enabled || id === undefined || id === seen || clock.mono() < again) return
    again = plus(clock.mono(), RETRY)
    await begin({}, seen === undefined ? 'start' : 'activation', 'coordinator')
    seen = id
    again = clock.mono()
  }

  async function tick(): Promise<void> {
    const row = await store.underWay()
    if (row) await advance(row)
    else await fillForActive()
  }

  return {
    name: 'model-gap-filler',
    async analyze(ask) {
      const model = await modelOf(ask.modelId)
      const gap = gapIn(await readFacts(await wantedBy(ask)), model, FRESH)
      const row = await store.underWay()
      return { model, gap, task: row?.model_id === model.id ? row.id : null }
    },
    async analyses(rows) {
      const facts = rows.length === 0 ? undefined : await keptFacts()
      if (!facts) return new Map()
      const underWay = await store.underWay()
      const task = (id: string) => (underWay?.model_id === id ? underWay.id : null)
      // Of many versions few are trained until another day, and thousands of pools take a while.
      const gaps = new Map<string, DataGap>()
      const gapOf = (model: ModelRow): DataGap => {
        const gap = gaps.get(model.trained_until) ?? gapIn(facts, model, FRESH)
        gaps.set(model.trained_until, gap)
        return gap
      }
      return new Map(rows.map((model) => [model.id, { model, gap: gapOf(model), task: task(model.id) }]))
    },
    fill: (ask, trigger, actor) =>
      inTurn(async () => {
        const row = await begin(ask, trigger, actor)
        if (row) return row
        throw new AppError('conflict', 'nothing is missing that could be fetched')
      }),
    task: (id) =>
      inTurn(async () => {
        const row = await mustFindTask(store, id)
        if (row.status === 'in_progress' && parts.backfill) await advance(row)
        return mustFindTask(store, id)
      }),
    cancel: (id) =>
      inTurn(async () => {
        const row = await mustFindTask(store, id)
        const ended = { status: 'cancelled', ended_at: clock.now(), left_ms: row.missing_ms }
        if (await store.change(id, ended))
          // Without a source nothing is under way.
          for (const { id: fetch, request } of fetchesOf(row))
            if (fetch !== null && request) await parts.backfill?.cancelFetch(fetch)
        return mustFindTask(store, id)
      }),
    history: store.list,
    async refresh(actor) {
      if (!parts.backfill) return 'no prices were fetched: there is no source'
      try {
        const row = await inTurn(() => begin({}, 'refresh', actor))
        return row ? `prices are being fetched: ${row.id}` : 'no prices were missing'
      } catch (error) {
        return `no prices were fetched: ${messageOf(error)}`
      }
    },
    async run(signal) {
      if (!parts.backfill) return
      const safely = async (work: () => Promise<unknown>) => {
        try {
          await inTurn(work)
        } catch (error) {
          if (!signal.aborted) log.warn({ event: 'model.gap_fill_failed', why: messageOf(error) })
        }
      }
      const row = await store.underWay()
      if (row) await safely(() => advance(row))
      await sleep(clock, FIRST, signal).catch(() => undefined)
      await everyPeriod(clock, LOOK, signal, () => safely(tick))
    },
  }
}
