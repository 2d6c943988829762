import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Random } from '@understudy/shared/core/random'
import { createSerial } from '@understudy/shared/core/serial'
import type { Service } from '@understudy/shared/core/service'
import {
  type Clock,
  hours,
  type Instant,
  instant,
  type Mono,
  millis,
  minutes,
  plus,
  seconds,
  sleep,
} from '@understudy/shared/core/time'
import type { PredictionRunView } from '@understudy/shared/protocol/predictions'
import type { Logger } from 'pino'
import { toTime } from './model-store.ts'
import { filledShare } from './pool-features.ts'
import type { PoolPrices } from './pool-prices.ts'
import type { PredictionFeed } from './prediction-feed.ts'
import type { NewPrediction, PredictionStore } from './prediction-store.ts'
import { NothingToScore, type Scorer, type Scores } from './scoring.ts'
import type { Serving } from './serving.ts'
import { createSteadyTime } from './steady-time.ts'

const EVERY = minutes(5)
/** Runs start up to this long after the full five minutes, not all of a region's coordinators at once. */
const JITTER = seconds(60)
const REREAD = hours(1)
const PURGE = hours(6)

export interface PredictionsParts {
  readonly serving: Pick<Serving, 'active' | 'hosts'>
  readonly scorer: Scorer
  readonly prices: PoolPrices
  readonly store: PredictionStore
  readonly feed: PredictionFeed
  readonly clock: Clock
  readonly log: Logger
  readonly random: Random
  /** How long predictions are kept. */
  readonly kept: number
  readonly watch: RunWatch
  /** The experiment that an alias belongs to. */
  readonly experimentOf: (alias: string) => string | null
}

/** What is watched in each run. What it throws is logged. */
export interface RunWatch {
  /** Which models are asked in a pass, before it. */
  asks(modelIds: readonly string[]): Promise<void> | void
  onRun(alias: string, scores: Scores): Promise<void> | void
  /** No pool had what the model needs. */
  onNone(alias: string, none: Pick<NothingToScore, 'model' | 'left'>): Promise<void> | void
}

/** What one pass made. */
export interface PredictionPass {
  readonly runs: readonly PredictionRunView[]
  /** Why there is none. */
  readonly skipped: string | null
}

/**
 * Asks the active version, and every `shadow:…`, about every pool every five minutes, in one batch each, and keeps what they
 * say. Without a model nothing is done.
 */
export interface Predictions extends Service {
  runOnce(): Promise<PredictionPass>
}

export function createPredictions(parts: PredictionsParts): Predictions {
  const { serving, scorer, prices, store, feed, clock, log } = parts
  const inOrder = createSerial()
  let reread = clock.mono()
  let purged: Mono | undefined
  let said: string | undefined
  let steady: Promise<() => Instant> | undefined

  const aliases = () => [
    undefined,
    ...serving
      .hosts()
      .map(({ alias }) => alias)
      .filter((alias) => alias.startsWith('shadow:')),
  ]

  async function predict(alias: string | undefined): Promise<PredictionRunView> {
    await prices.refresh()
    const at = clock.now()
    const scores = await scorer.score(
      prices.regions().map((region) => ({ region })),
      at,
      alias,
    )
    const { id, sha256, manifest } = scores.prediction.model
    const left = countsOf(scores.left.values())
    const run = await store.add(
      {
        at,
        alias: alias ?? 'active',
        model_id: id,
        model_sha256: sha256,
        answered_by: scores.prediction.answeredBy,
        horizon_ms: manifest.target.horizon_h * 3_600_000,
        threshold: manifest.decision_threshold,
        took_ms: scores.prediction.millis,
        left,
        experiment: alias === undefined ? null : parts.experimentOf(alias),
      },
      await rowsOf(scores),
    )
    await watched(alias, () => parts.watch.onRun(alias ?? 'active', scores))
    return viewOf(run, alias ?? 'active', scores, left)
  }

  /** What is stored was said, whatever becomes of the watching. */
  async function watched(alias: string | undefined, watching: () => Promise<void> | void): Promise<void> {
    try {
      await watching()
    } catch (error) {
      log.error({ event: 'predictions.not_watched', alias: alias ?? 'active', err: error })
    }
  }

  const askedIds = (): string[] => [
    ...(serving.active ? [serving.active.id] : []),
    ...serving.hosts().flatMap(({ alias, model }) => (alias.startsWith('shadow:') ? [model.id] : [])),
  ]

  async function runOnce(): Promise<PredictionPass> {
    await watched(undefined, () => parts.watch.asks(askedIds()))
    if (!serving.active) return { runs: [], skipped: 'no model is active' }
    const runs: PredictionRunView[] = []
    let skipped: string | null = null
    for (const alias of aliases())
      try {
        const run = await predict(alias)
        runs.push(run)
        if (alias === undefined) feed.publish(run)
      } catch (error) {
        if (!isAppError(error)) throw error
        if (error instanceof NothingToScore)
          await watched(alias, () => parts.watch.onNone(alias ?? 'active', error))
        skipped = `${alias ?? 'active'}: ${messageOf(error)}`
      }
    return { runs, skipped }
  }

  /** Asked for before the first run, which is stored with the time of a clock that may be wrong. */
  function steadyNow(): Promise<() => Instant> {
    steady ??= store.newest().then((newest) => createSteadyTime(clock, newest))
    steady.catch(() => (steady = undefined))
    return steady
  }

  async function tend(signal: AbortSignal): Promise<void> {
    if (clock.mono() - reread >= REREAD && serving.active) {
      await prices.reread()
      reread = clock.mono()
    }
    if (purged !== undefined && clock.mono() - purged < PURGE) return
    const gone = await store.purge(instant((await steadyNow())() - parts.kept), signal)
    purged = clock.mono()
    if (gone > 0) log.info({ event: 'predictions.purged', rows: gone })
  }

  const once = () => inOrder(runOnce)

  async function tick(signal: AbortSignal): Promise<void> {
    try {
      await steadyNow()
      const { runs, skipped } = await once()
      const [first] = runs
      if (first) log.debug({ event: 'predictions.made', pools: first.items.length, ms: first.took_ms })
      // Once, and again when it is another reason.
      if (skipped !== null && skipped !== said) log.warn({ event: 'predictions.skipped', why: skipped })
      said = skipped ?? undefined
    } catch (error) {
      if (!signal.aborted) log.error({ event: 'predictions.failed', err: error })
    }
    try {
      await tend(signal)
    } catch (error) {
      if (!signal.aborted) log.error({ event: 'predictions.not_tended', err: error })
    }
  }

  return {
    name: 'predictions',
    runOnce: once,
    async run(signal) {
      const jitter = Math.floor(parts.random() * JITTER)
      while (!signal.aborted) {
        const wait = millis((EVERY - (clock.now() % EVERY) + jitter) % EVERY || EVERY)
        await sleep(clock, wait, signal).catch(() => undefined)
        if (!signal.aborted) await tick(signal)
      }
    },
  }
}

/** In slices, so that nothing waits for thousands of hashes. */
async function rowsOf({ pools, values, prediction, at }: Scores): Promise<NewPrediction[]> {
  const width = pools.length === 0 ? 0 : values.length / pools.length
  const names = prediction.model.manifest.input.features.map(({ name }) => name).join(' ')
  const rows: NewPrediction[] = []
  for (const [i, priced] of pools.entries()) {
    const row = values.subarray(i * width, (i + 1) * width)
    rows.push({
      poolId: priced.id,
      p: prediction.p[i] as number,
      featuresHash: featuresHash(names, row),
      filled: filledShare(priced, at),
    })
    if (i % 1000 === 999) await setImmediate()
  }
  return rows
}

/** The first 16 hex digits of the SHA-256 of the names, a line feed and the numbers (float32, little-endian). */
const featuresHash = (names: string, row: Float32Array): string =>
  createHash('sha256')
    .update(`${names}\n`)
    .update(new Uint8Array(row.buffer, row.byteOffset, row.byteLength))
    .digest('hex')
    .slice(0, 16)

function viewOf(
  run: number,
  alias: string,
  { at, pools, prediction }: Scores,
  left: Record<string, number>,
): PredictionRunView {
  const { id, sha256, manifest } = prediction.model
  const threshold = manifest.decision_threshold
  return {
    type: 'predictions',
    run,
    at: toTime(at),
    alias,
    model_id: id,
    name: manifest.name,
    version: manifest.version,
    model_sha256: sha256,
    answered_by: prediction.answeredBy,
    threshold,
    horizon_end: toTime(plus(at, hours(manifest.target.horizon_h))),
    took_ms: prediction.millis,
    left_out: left,
    items: pools.map((priced, i) => {
      const p = prediction.p[i] as number
      return {
        pool_id: priced.id,
        p_instability_12h: p,
        confidence: 1 - filledShare(priced, at as Instant),
        unstable: p >= threshold,
      }
    }),
  }
}

function countsOf(reasons: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const reason of reasons) counts[reason] = (counts[reason] ?? 0) + 1
  return counts
}
