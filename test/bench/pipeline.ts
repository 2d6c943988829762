import { setImmediate } from 'node:timers/promises'
import { type PolicyName, runBacktest } from '../../coordinator/src/backtest/backtest.ts'
import { priceWorkloads } from '../../coordinator/src/backtest/price-market.ts'
import { countedRises } from '../../coordinator/src/backtest/price-risk.ts'
import type { ReplayMarket } from '../../coordinator/src/backtest/replay-market.ts'
import { addAgent, addInstance } from '../../coordinator/src/fleet/testing.ts'
import { type Batch, createBatch } from '../../coordinator/src/pipeline/batch.ts'
import { createDecisionStore } from '../../coordinator/src/pipeline/decision-store.ts'
import type { RiskModel } from '../../coordinator/src/pipeline/evaluations.ts'
import { createInstanceConfigs } from '../../coordinator/src/pipeline/instance-configs.ts'
import { createPolicies } from '../../coordinator/src/pipeline/pipeline-input.ts'
import { createTargets } from '../../coordinator/src/pipeline/targets.ts'
import { openDatabase } from '../../coordinator/src/storage/database.ts'
import { migrate } from '../../coordinator/src/storage/migrate.ts'
import { seededRandom } from '../../shared/src/core/random.ts'
import { hours, instant, systemClock } from '../../shared/src/core/time.ts'
import type { Offer } from '../../shared/src/pipeline/context.ts'
import { evaluate } from '../../shared/src/pipeline/pipeline.ts'
import { inputOf, NOW, need, offer, placement } from '../../shared/src/pipeline/testing.ts'
import type { PoolView } from '../../shared/src/protocol/market.ts'
import { type Bench, type BenchResult, formatTable, percentile } from './bench.ts'

const AIM_P99_MS = 10

/** What a decision costs, and a cycle of them. Candidates are made up; the model answers at once, so its time is not in it. */
export const bench: Bench = {
  summary: 'Pipeline: decisions of many candidates, a cycle over a fleet, and how fast a backtest is',
  options: {
    runs: { value: 300, doc: 'decisions of each size' },
    agents: { value: 1000, doc: 'agents of the cycle' },
    candidates: { value: 500, doc: 'pools of the cycle' },
    pools: { value: 100, doc: 'pools of the backtest' },
    days: { value: 30, doc: 'days of the backtest' },
  },
  async run({ runs = 0, agents = 0, candidates = 0, pools = 0, days = 0 }, progress) {
    const sizes = [500, 1000, 5000].map((size) => {
      progress(`${runs} decisions of ${size} candidates`)
      return timeDecisions(size, runs)
    })
    progress(`cycles over ${agents} agents`)
    const cycles = [
      await timeCycle(Math.max(1, Math.round(agents / 10)), candidates),
      await timeCycle(agents, candidates),
    ]
    progress(`a backtest of ${pools} pools over ${days} days`)
    return report(sizes, cycles, timeBacktest(pools, days))
  },
}

interface Size {
  readonly candidates: number
  readonly p50: number
  readonly p99: number
  /** CPU time of one, which a busy machine does not change. */
  readonly cpuMs: number
}
interface CycleTime {
  readonly agents: number
  readonly candidates: number
  readonly ms: number
  readonly cpuMs: number
  readonly decided: number
  /** The longest time in which nobody else was heard. */
  readonly stallMs: number
}

const FAMILIES = ['c5', 'm5', 'r5', 'c6i', 'm6i', 'r6i', 'c5a', 'm5a', 'r5a', 'c7i', 'm7i', 'r7i', 'c6a']
const SIZES = ['large', 'xlarge'] as const

/** Made-up pools, each once: families, sizes, and as many zones as it takes. */
function pools(count: number): { pool: string; vcpu: number; memGib: number; usd: number }[] {
  const random = seededRandom(7)
  return Array.from({ length: count }, (_, i) => {
    const size = SIZES[i % 2] ?? 'large'
    const family = FAMILIES[(i >> 1) % FAMILIES.length] ?? 'c5'
    const zone = Math.floor(i / (2 * FAMILIES.length))
    const vcpu = size === 'large' ? 2 : 4
    const area = `${'abcdefghij'[zone % 10]}`
    return {
      pool: `${family}${zone < 10 ? '' : `z${Math.floor(zone / 10)}`}.${size}@us-east-1${area}`,
      vcpu,
      memGib: vcpu * 4,
      usd: 0.02 * vcpu * (0.8 + random() * 0.6),
    }
  })
}

function offersOf(count: number): Offer[] {
  const random = seededRandom(8)
  return pools(count).map(({ pool, usd, vcpu, memGib }) => {
    const [type = '', availabilityZone = ''] = pool.split('@')
    return offer(type, usd, {
      availabilityZone,
      vcpu,
      memGib,
      onDemandUsd: vcpu * 0.06,
      instability12h: random() * 0.5,
    })
  })
}

function timeDecisions(candidates: number, runs: number): Size {
  const input = inputOf(offersOf(candidates), {
    requirement: need(),
    current: placement('c5.large', { availabilityZone: 'us-east-1a' }),
  })
  for (let i = 0; i < 20; i++) evaluate(input)
  const times: number[] = []
  const cpu = process.cpuUsage()
  for (let i = 0; i < runs; i++) {
    const began = performance.now()
    const outcome = evaluate(input)
    times.push(performance.now() - began)
    if (outcome.trace[0]?.in !== candidates) throw new Error(`${outcome.trace[0]?.in} candidates went in`)
  }
  return { candidates, p50: percentile(times, 50), p99: percentile(times, 99), cpuMs: cpuSince(cpu) / runs }
}

const model: RiskModel = {
  score: (offers) =>
    Promise.resolve({
      offers: offers.map((one) => ({ ...one, instability12h: 0.01 })),
      model: { version: 'bench@1', decisionThreshold: null },
      modelFailure: null,
    }),
}

/** Everything but the network and the model: reading the fleet, deciding, storing in SQLite. */
async function timeCycle(agents: number, candidates: number): Promise<CycleTime> {
  const database = await openDatabase({ store: 'sqlite', path: ':memory:' })
  try {
    const { db } = database
    await migrate(db)
    for (let i = 0; i < agents; i++) {
      await addAgent(db, { id: `a${i}`, instance_id: `i-0${i}`, auto_switch_enabled: 1 })
      await addInstance(db, {
        ...{ id: `i-0${i}`, agent_id: `a${i}`, pool_id: 'c5.large@us-east-1a' },
        launched_at: Date.now() - hours(48),
      })
    }
    const price_at = new Date().toISOString()
    const all = pools(candidates)
    const facts = new Map(all.map(({ pool, vcpu, memGib }) => [pool.split('@')[0] ?? '', { vcpu, memGib }]))
    const views = all.map(
      ({ pool, usd }) =>
        ({ pool_id: pool, spot_price: usd, price_at, on_demand_price: 1, interruption_band: 0 }) as PoolView,
    )
    const batch: Batch = createBatch({
      ...{ clock: systemClock, model, targets: createTargets(db, systemClock) },
      ...{ configs: createInstanceConfigs(db, systemClock), store: createDecisionStore(db) },
      policyOf: createPolicies(),
      sourcesOf: () =>
        Promise.resolve({
          pools: views,
          offered: [],
          factsOf: (type) => {
            const known = facts.get(type)
            return known && { ...known, arch: 'x86_64', gpu: 0 }
          },
          interruptionOf: () => 0.001,
        }),
      rebalanceProbabilityOf: () => Promise.resolve(0.4),
      voluntaryMovesAllowed: () => ({ allowed: true, reason: '' }),
      submit: () => Promise.resolve({ status: 'would_act', reason: 'measured' }),
      onCycle: () => undefined,
    })
    const stall = watchStalls()
    const cpu = process.cpuUsage()
    const cycle = await batch.run('bench')
    const cpuMs = cpuSince(cpu)
    const decided = Object.values(cycle.decisions).reduce((sum, count) => sum + count, 0)
    return { agents, candidates, ms: cycle.durationMs, cpuMs, decided, stallMs: await stall.stop() }
  } finally {
    await database.close()
  }
}

function cpuSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/** How long the event loop was held at most. */
function watchStalls() {
  let longest = 0
  let stopped = false
  const watching = (async () => {
    for (let last = performance.now(); !stopped; last = performance.now()) {
      await setImmediate()
      longest = Math.max(longest, performance.now() - last)
    }
  })()
  return {
    async stop() {
      stopped = true
      await watching
      return longest
    },
  }
}

/** Pool-hours a second, over prices that walk at random. */
function timeBacktest(count: number, days: number) {
  const random = seededRandom(9)
  const ticks = days * 24
  const market: ReplayMarket = {
    start: instant(NOW - days * hours(24)),
    tick: hours(1),
    ticks,
    isBlind: () => false,
    pools: pools(count)
      .map(({ pool, usd, vcpu, memGib }) => {
        const [instanceType = '', availabilityZone = ''] = pool.split('@')
        const price = new Float64Array(ticks)
        for (let i = 0, at = usd; i < ticks; i++) {
          at = Math.min(vcpu * 0.06, at * (0.98 + random() * 0.04))
          price[i] = at
        }
        return {
          id: pool,
          instanceType,
          availabilityZone,
          vcpu,
          memGib,
          arch: 'x86_64',
          gpu: 0,
          onDemandUsd: vcpu * 0.06,
          price,
        } as const
      })
      .sort((a, b) => (a.id < b.id ? -1 : 1)),
  }
  const workloads = priceWorkloads(market, 8)
  const policies: readonly PolicyName[] = ['effective-cost-v1']
  const began = performance.now()
  const done = runBacktest({
    name: 'bench',
    market,
    workloads,
    policies,
    risk: countedRises(market),
    hasPrices: true,
  })
  const seconds = (performance.now() - began) / 1000
  const poolHours = workloads.reduce((sum, workload) => sum + workload.pools.length * ticks, 0)
  return {
    pools: count,
    days,
    workloads: workloads.length,
    poolHours,
    seconds,
    perSecond: poolHours / seconds,
    rows: done.rows.length,
  }
}

function report(
  sizes: readonly Size[],
  cycles: readonly CycleTime[],
  backtest: ReturnType<typeof timeBacktest>,
): BenchResult {
  const [small] = sizes
  const large = sizes.at(-1)
  const [few, many] = cycles
  const growth =
    small && large ? large.cpuMs / large.candidates / (small.cpuMs / small.candidates) : Number.NaN
  const cycleGrowth = few && many ? many.cpuMs / many.agents / (few.cpuMs / few.agents) : Number.NaN
  const ms = (value: number) => value.toFixed(2)
  const table = [
    formatTable(
      ['one decision, milliseconds', 'p50', 'p99', 'CPU', 'aim p99'],
      sizes.map(({ candidates, p50, p99, cpuMs }) => [
        `${candidates} candidates`,
        ms(p50),
        ms(p99),
        ms(cpuMs),
        candidates === 500 ? `<= ${AIM_P99_MS}: ${p99 <= AIM_P99_MS ? 'met' : 'MISSED'}` : '-',
      ]),
    ),
    formatTable(
      ['one cycle', 'pools', 's', 'ms an agent', 'CPU ms an agent', 'longest stall ms'],
      cycles.map(({ agents, candidates, ms: took, cpuMs, stallMs }) => [
        `${agents} agents`,
        candidates,
        ms(took / 1000),
        ms(took / agents),
        ms(cpuMs / agents),
        ms(stallMs),
      ]),
    ),
    `growth of CPU time, where 1 is linear: ${growth.toFixed(2)} by candidates, ${cycleGrowth.toFixed(2)} by agents`,
    `backtest: ${backtest.workloads} workloads, ${backtest.poolHours} pool-hours in ${ms(backtest.seconds)} s, ${backtest.perSecond.toFixed(0)} a second`,
  ].join('\n\n')
  return {
    table,
    json: {
      schema: 'understudy.bench.pipeline/v1',
      ...{ decisions: sizes, cycles, growth, cycle_growth: cycleGrowth, backtest },
      aims: { p99_500: { most: AIM_P99_MS } },
      missed: small && small.p99 > AIM_P99_MS ? ['p99_500'] : [],
    },
    ok: cycles.every(({ agents, decided }) => decided === agents),
  }
}
