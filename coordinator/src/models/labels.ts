import { setImmediate } from 'node:timers/promises'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, hours, type Instant, instant, minutes } from '@understudy/shared/core/time'
import { parsePool, regionOf } from '@understudy/shared/market/pool'
import { familyOf } from '@understudy/shared/market/pool-groups'
import { createLabeller, priceTarget } from '@understudy/shared/market/price-label'
import type { RiseTarget } from '@understudy/shared/market/price-rise'
import type { Logger } from 'pino'
import type { Market } from '../market/market.ts'
import type { PredictionBlockRow } from '../storage/database.ts'
import type { LabelSpan, LabelStore, PendingPool } from './label-store.ts'
import { type ModelStore, manifestOf } from './model-store.ts'

const EVERY = minutes(30)
/** Prices of the end of a horizon may still be on their way. */
const DELAY = hours(1)
/** A backfill comes once a day: whose prices have not come by then has no label. */
const PATIENCE = hours(72)
/** Predictions of one pool within so long say the same. */
export const BLOCK = hours(12)
const POOLS_AT_ONCE = 50
/** A sample of the bucket in which a prediction was made lies before it. */
const BEFORE = minutes(15)

export interface LabelPass {
  readonly labelled: number
  readonly unlabelled: number
}

/**
 * Labels predictions once their horizon has passed, from the prices that came after. Every pool has a price whether or not
 * anything ran there, so that nothing is left out because of what was done.
 */
export interface Labels extends Service {
  passOnce(): Promise<LabelPass>
}

export function createLabels(parts: {
  readonly store: LabelStore
  readonly models: Pick<ModelStore, 'find'>
  readonly market: Pick<Market, 'facts'>
  readonly clock: Clock
  readonly log: Logger
  /** New blocks of a model are complete. */
  readonly onBlocks: (modelId: string) => Promise<void> | void
  readonly onPass: (pass: LabelPass) => void
}): Labels {
  const { store, models, market, clock, log } = parts
  /** Until when all blocks of a model are complete: one in which nothing has a label leaves nothing in the store. */
  const closed = new Map<string, number>()

  async function labelModel(modelId: string, horizon: number): Promise<LabelPass> {
    const now = clock.now()
    const due = now - horizon - DELAY
    const pools = await store.pendingPools(modelId, due)
    const row = await models.find(modelId)
    const target = row && priceTarget(manifestOf(row).target)
    let labelled = 0
    let unlabelled = 0
    const write = async (spans: readonly LabelSpan[]) => {
      const with_ = spans.filter(({ label }) => label !== null)
      labelled += await store.label(modelId, with_)
      unlabelled += await store.label(
        modelId,
        spans.filter(({ label }) => label === null),
      )
    }
    if (!target) {
      const reason = row ? 'prices do not show whether it came true' : 'the model is no longer known'
      for (let start = 0; start < pools.length; start += POOLS_AT_ONCE) {
        const some = pools.slice(start, start + POOLS_AT_ONCE)
        await write(
          some.map(({ pool, first, last }) => ({ pool, from: first, to: last, label: null, reason })),
        )
        // Everything else has its turn: SQLite writes in this thread.
        await setImmediate()
      }
      return { labelled, unlabelled }
    }
    for (let start = 0; start < pools.length; start += POOLS_AT_ONCE)
      await write(await spansOf(modelId, pools.slice(start, start + POOLS_AT_ONCE), target))
    return { labelled, unlabelled }
  }

  async function spansOf(
    modelId: string,
    pools: readonly PendingPool[],
    target: RiseTarget,
  ): Promise<LabelSpan[]> {
    const range = {
      from: instant(Math.min(...pools.map(({ first }) => first)) - BEFORE),
      to: instant(Math.max(...pools.map(({ last }) => last)) + target.horizon + 1),
    }
    const facts = await market.facts(
      pools.map(({ poolId }) => poolId),
      range,
    )
    const spans: LabelSpan[] = []
    for (const pending of pools) {
      const { pool, poolId } = pending
      const known = facts.get(poolId) ?? { changes: [], covered: [], samples: [] }
      const labelAt = createLabeller(known, range, target)
      const times = await store.pendingTimes(modelId, pending)
      spans.push(...joinSpans(pool, times, (at) => outcomeOf(labelAt(at), at, target)))
    }
    return spans
  }

  type Outcome = Pick<LabelSpan, 'label' | 'reason'>

  function outcomeOf(label: number | undefined, at: Instant, { horizon }: RiseTarget): Outcome | undefined {
    if (label !== undefined) return { label, reason: null }
    if (at + horizon + DELAY + PATIENCE > clock.now()) return undefined
    return { label: null, reason: 'its prices until the end of the horizon are not all known' }
  }

  /** Block by block, as long as nothing in them is waited for. */
  async function closeBlocks(modelId: string, horizon: number): Promise<void> {
    const last = await store.lastBlock(modelId)
    let added = false
    let from = closed.get(modelId) ?? (last === undefined ? 0 : last + BLOCK)
    for (;;) {
      const first = await store.firstRun(modelId, from)
      if (first === undefined) break
      const start = Math.floor(first / BLOCK) * BLOCK
      const end = start + BLOCK
      if (end + horizon + DELAY > clock.now() || (await store.isPending(modelId, start, end))) break
      const rows = blockRows(modelId, start, await store.losses(modelId, start, end))
      await store.addBlocks(rows)
      added ||= rows.length > 0
      from = end
      closed.set(modelId, from)
    }
    if (added) await parts.onBlocks(modelId)
  }

  async function passOnce(): Promise<LabelPass> {
    const total = { labelled: 0, unlabelled: 0 }
    for (const { modelId, horizon } of await store.models()) {
      const { labelled, unlabelled } = await labelModel(modelId, horizon)
      total.labelled += labelled
      total.unlabelled += unlabelled
      await closeBlocks(modelId, horizon)
    }
    parts.onPass(total)
    return total
  }

  return {
    name: 'prediction-labels',
    passOnce,
    run: (signal) =>
      everyPeriod(clock, EVERY, signal, async () => {
        try {
          const pass = await passOnce()
          if (pass.labelled + pass.unlabelled > 0) log.info({ event: 'predictions.labelled', ...pass })
        } catch (error) {
          if (!signal.aborted) log.error({ event: 'predictions.not_labelled', err: error })
        }
      }),
  }
}

/** Times with the same outcome in succession become one span; those without one are left as they are. */
function joinSpans(
  pool: number,
  times: readonly Instant[],
  outcomeAt: (at: Instant) => Pick<LabelSpan, 'label' | 'reason'> | undefined,
): LabelSpan[] {
  const spans: { -readonly [K in keyof LabelSpan]: LabelSpan[K] }[] = []
  let open = false
  for (const at of times) {
    const outcome = outcomeAt(at)
    const last = spans.at(-1)
    if (!outcome) open = false
    else if (open && last && last.label === outcome.label && last.reason === outcome.reason) last.to = at
    else {
      spans.push({ pool, from: at, to: at, ...outcome })
      open = true
    }
  }
  return spans
}

const groupOf = (poolId: string): string => {
  const pool = parsePool(poolId)
  return `${familyOf(pool)}@${regionOf(pool.availabilityZone)}`
}

function blockRows(
  modelId: string,
  at: number,
  losses: Awaited<ReturnType<LabelStore['losses']>>,
): PredictionBlockRow[] {
  const groups = Map.groupBy(losses, ([poolId]) => groupOf(poolId))
  return [...groups].map(([group, pools]) => {
    const sum = (of: 'rows' | 'positives' | 'brier') => pools.reduce((total, [, loss]) => total + loss[of], 0)
    return {
      ...{ model_id: modelId, block_at: at, pool_group: group },
      ...{ rows: sum('rows'), positives: sum('positives'), brier: sum('brier') / sum('rows') },
    }
  })
}
