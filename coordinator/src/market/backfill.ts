import { randomUUID } from 'node:crypto'
import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import {
  type Clock,
  type Instant,
  instant,
  type Millis,
  millis,
  seconds,
  sleep,
} from '@understudy/shared/core/time'
import type { Interval } from '@understudy/shared/market/interval'
import { parsePool, regionOf } from '@understudy/shared/market/pool'
import type { Known } from '@understudy/shared/market/sample'
import type { Logger } from 'pino'
import type { HistoryQuery, HistorySource } from '../cloud/history-source.ts'
import { checkFetchRequest, type FetchPart, type FetchRequest, planParts } from './backfill-plan.ts'
import { emptyCursor, type FetchCursor, type FetchStore, mustFetch, type StoredFetch } from './fetch-store.ts'
import { fetchPart, type PartOutcome } from './history-part.ts'
import type { HistorySink } from './history-sink.ts'
import { createRefusals } from './refusals.ts'

export interface FetchStatus extends StoredFetch {
  readonly percent: number
  /** How long it will still take at the speed so far; null while that is not known. */
  readonly eta: Millis | null
}

/** Price histories from the source into the market: what was asked for, and the holes that the gap filler names. */
export interface Backfill extends Service {
  /** Queues a fetch; the service works it off. @throws AppError `input_invalid` */
  startFetch(request: FetchRequest, kind?: 'backfill' | 'manual'): Promise<FetchStatus>
  /** @throws AppError `not_found` */
  fetchStatus(id: string): Promise<FetchStatus>
  listFetches(limit: number): Promise<readonly FetchStatus[]>
  /** Ends it; what was fetched stays. Cancelling one that has ended changes nothing. @throws AppError `not_found` */
  cancelFetch(id: string): Promise<FetchStatus>
  /**
   * Fetches at once what is asked for, as far back as the source knows, and says what is covered now. A type that fails
   * does not keep the others from being fetched.
   * @throws AppError `forbidden`; `unavailable`, `input_invalid`, `protocol` when nothing at all is covered
   */
  fetchHistory(
    ask: { readonly pools: readonly string[]; readonly range: Interval },
    signal: AbortSignal,
  ): Promise<{ readonly covered: ReadonlyMap<string, readonly Interval[]> }>
}

export interface BackfillParts {
  readonly source: HistorySource
  readonly sink: HistorySink
  readonly store: FetchStore
  /** What rows are measured against. */
  readonly known: () => Known
  readonly clock: Clock
  readonly log: Logger
}

/** How often fetches that another coordinator has queued are looked for. */
const LOOK = seconds(5)
const MOST_NOTES = 20
/** So many parts in a row without an answer mean that the source cannot be reached at all. */
const GIVE_UP_AFTER = 3

/** Run by one coordinator at a time: it takes up whatever it finds unfinished. */
export function createBackfill(parts: BackfillParts): Backfill {
  const { source, store, known, clock, log } = parts
  const running = new Map<string, AbortController>()
  let wake: (() => void) | undefined

  /** The part of the range that the source can still know, to a whole second, since that is how EC2 is asked. */
  function reachable({ from, to }: Interval): Interval {
    const now = clock.now()
    return {
      from: instant(Math.max(from, now - source.reach)),
      to: instant(Math.floor(Math.min(to, now) / 1000) * 1000),
    }
  }

  async function ask(
    query: HistoryQuery,
    refusals: ReturnType<typeof createRefusals>,
    signal: AbortSignal,
  ): Promise<PartOutcome> {
    const range = reachable(query.range)
    if (range.from >= range.to) return { rows: 0, covered: new Map<string, readonly Interval[]>() }
    return fetchPart({ ...parts, known: known() }, { ...query, range }, refusals, signal)
  }

  async function work(fetch: StoredFetch, shutdown: AbortSignal): Promise<void> {
    const stop = new AbortController()
    running.set(fetch.id, stop)
    try {
      if (!(await store.start(fetch.id, clock.now()))) return
      const outcome = await walk(fetch, AbortSignal.any([shutdown, stop.signal]))
      if (outcome && (await store.end(fetch.id, outcome.status, clock.now(), outcome.error)))
        log.info({ event: 'backfill.ended', fetch: fetch.id, ...outcome })
    } catch (error) {
      // Shut down: it goes on from its cursor at the next start. Cancelled: that is written down already.
      if (shutdown.aborted || stop.signal.aborted) return
      await store.end(fetch.id, 'failed', clock.now(), messageOf(error))
      log.error({ event: 'backfill.failed', fetch: fetch.id, err: error })
    } finally {
      running.delete(fetch.id)
    }
  }

  /** Part by part from the cursor on. Undefined when it was cancelled meanwhile. */
  async function walk(fetch: StoredFetch, signal: AbortSignal): Promise<Outcome | undefined> {
    const request = checkFetchRequest(fetch.request)
    const plan = planParts(request)
    let { cursor, rows } = fetch
    let silent = 0
    for (const part of plan.slice(cursor.next)) {
      signal.throwIfAborted()
      const result = await one(part, request, signal)
      rows += result.rows
      cursor = addResult(cursor, part, result)
      silent = result.failure?.code === 'unavailable' ? silent + 1 : 0
      // What every other part would fail for too is not worth asking again; the cursor stays before this part.
      if (result.failure?.code === 'forbidden' || silent >= GIVE_UP_AFTER)
        return { status: 'failed', error: result.failure?.message ?? '' }
      if (!(await store.advance(fetch.id, rows, cursor))) return undefined
    }
    if (cursor.failed === 0) return { status: 'done', error: null }
    const [first] = cursor.failures
    return {
      status: 'failed',
      error: `${cursor.failed} of ${plan.length} parts failed, the first ${first?.part}: ${first?.message}`,
    }
  }

  async function one(part: FetchPart, request: FetchRequest, signal: AbortSignal): Promise<PartResult> {
    const refusals = createRefusals()
    const query = { region: part.region, instanceTypes: [part.instanceType], range: request }
    try {
      const { rows, covered } = await ask(query, refusals, signal)
      return { rows, offered: covered.size > 0, refused: refusals.summary() }
    } catch (error) {
      signal.throwIfAborted()
      if (!isAppError(error)) throw error
      log.warn({ event: 'backfill.part_failed', ...part, code: error.code, why: error.message })
      return { rows: 0, offered: true, refused: refusals.summary(), failure: error }
    }
  }

  /** An error that says nothing about other questions is a result. @throws AppError `forbidden` */
  async function tryOne(
    query: HistoryQuery,
    refusals: ReturnType<typeof createRefusals>,
    signal: AbortSignal,
  ): Promise<PartOutcome | AppError> {
    try {
      return await ask(query, refusals, signal)
    } catch (error) {
      signal.throwIfAborted()
      if (!isAppError(error) || error.code === 'forbidden') throw error
      const { region, instanceTypes } = query
      log.warn({
        event: 'backfill.part_failed',
        region,
        instanceTypes,
        code: error.code,
        why: error.message,
      })
      return error
    }
  }

  const toStatus = (fetch: StoredFetch): FetchStatus => statusOf(fetch, clock.now())

  return {
    name: 'backfill',
    async run(signal) {
      while (!signal.aborted) {
        try {
          for (const fetch of await store.unfinished()) if (!signal.aborted) await work(fetch, signal)
        } catch (error) {
          // The database is busy or full: what is unfinished is taken up again at the next look.
          if (!signal.aborted) log.error({ event: 'backfill.database_failed', err: error })
        }
        if (!signal.aborted)
          await waitFor(clock, LOOK, signal, (woken) => {
            wake = woken
          })
      }
    },
    async startFetch(asked, kind = 'manual') {
      const request = checkFetchRequest(asked)
      if (request.from >= clock.now())
        throw new AppError('input_invalid', 'the range of the fetch lies in the future')
      const fetch: StoredFetch = {
        id: randomUUID(),
        kind,
        request,
        status: 'queued',
        done: 0,
        total: planParts(request).length,
        rows: 0,
        error: null,
        cursor: emptyCursor,
        createdAt: clock.now(),
        startedAt: null,
        endedAt: null,
      }
      await store.add(fetch)
      wake?.()
      return toStatus(fetch)
    },
    fetchStatus: async (id) => toStatus(await mustFetch(store, id)),
    listFetches: async (limit) => (await store.list(limit)).map(toStatus),
    async cancelFetch(id) {
      await mustFetch(store, id)
      await store.end(id, 'cancelled', clock.now(), null)
      running.get(id)?.abort(new AppError('conflict', `the fetch ${id} was cancelled`))
      return toStatus(await mustFetch(store, id))
    },
    async fetchHistory({ pools, range }, signal) {
      const covered = new Map<string, readonly Interval[]>()
      const refusals = createRefusals()
      let failure: AppError | undefined
      let silent = 0
      for (const query of queriesOf(pools, range)) {
        const result = await tryOne(query, refusals, signal)
        if (isAppError(result)) failure ??= result
        else for (const [pool, intervals] of result.covered) covered.set(pool, intervals)
        silent = isAppError(result) && result.code === 'unavailable' ? silent + 1 : 0
        if (silent >= GIVE_UP_AFTER) break
      }
      if (failure && covered.size === 0) throw failure
      return { covered }
    },
  }
}

interface Outcome {
  readonly status: 'done' | 'failed'
  readonly error: string | null
}

interface PartResult {
  readonly rows: number
  readonly offered: boolean
  readonly refused: ReturnType<ReturnType<typeof createRefusals>['summary']>
  readonly failure?: AppError
}

function addResult(
  cursor: FetchCursor,
  part: FetchPart,
  { offered, refused, failure }: PartResult,
): FetchCursor {
  const name = `${part.instanceType} in ${part.region}`
  const counts = { ...cursor.refused }
  for (const [code, count] of Object.entries(refused.byCode)) counts[code] = (counts[code] ?? 0) + count
  const note = failure ? [{ part: name, code: failure.code, message: failure.message }] : []
  return {
    next: cursor.next + 1,
    refused: counts,
    examples: [...cursor.examples, ...refused.examples].slice(0, MOST_NOTES),
    notOffered: [...cursor.notOffered, ...(offered ? [] : [name])].slice(0, MOST_NOTES),
    failures: [...cursor.failures, ...note].slice(0, MOST_NOTES),
    failed: cursor.failed + note.length,
  }
}

/** One question per type and region; only the zone that is asked for when it is one. */
function queriesOf(pools: readonly string[], range: Interval): HistoryQuery[] {
  const wanted = new Map<string, { region: string; instanceType: string; zones: Set<string> }>()
  for (const { instanceType, availabilityZone } of pools.map(parsePool)) {
    const region = regionOf(availabilityZone)
    const key = `${region} ${instanceType}`
    const entry = wanted.get(key) ?? { region, instanceType, zones: new Set() }
    wanted.set(key, entry)
    entry.zones.add(availabilityZone)
  }
  return [...wanted.values()].map(({ region, instanceType, zones: [zone, ...others] }) => ({
    region,
    instanceTypes: [instanceType],
    range,
    ...(zone === undefined || others.length > 0 ? {} : { availabilityZone: zone }),
  }))
}

/** How far a fetch or an import is. */
export const statusOf = (fetch: StoredFetch, now: Instant): FetchStatus => ({
  ...fetch,
  percent: fetch.total === 0 ? 100 : (fetch.done / fetch.total) * 100,
  eta: fetch.status === 'running' ? etaOf(fetch, now) : null,
})

function etaOf({ done, total, startedAt }: StoredFetch, now: Instant): Millis | null {
  if (startedAt === null || done === 0) return null
  return millis(Math.round(((now - startedAt) / done) * (total - done)))
}

/** Until it is woken, the time is over, or the signal aborts. */
async function waitFor(
  clock: Clock,
  time: Millis,
  signal: AbortSignal,
  onWait: (wake: () => void) => void,
): Promise<void> {
  const woken = new AbortController()
  onWait(() => woken.abort())
  await sleep(clock, time, AbortSignal.any([signal, woken.signal])).catch(() => undefined)
}
