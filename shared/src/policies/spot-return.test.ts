import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hours, instant, minutes } from '../core/time.ts'
import { type OnDemandStay, planReturn, type SpotPlace } from './spot-return.ts'

const NOW = instant(hours(100))
const place = (more: Partial<SpotPlace> = {}): SpotPlace => ({
  ...{ pool: 'm5.large@us-east-1c', spotPrice: 40_000, risk: 0.01, ...more },
})
const standby = (id: string, more: Partial<OnDemandStay['standbys'][number]> = {}) => ({
  ...{ id, instance: `i-${id}`, type: 'automatic-rebalance' as const, createdAt: NOW },
  ...{ isReady: true, isAtRisk: false, merit: 0, place: place(), ...more },
})
const stay = (more: Partial<OnDemandStay> = {}): OnDemandStay => ({
  ...{ now: NOW, launchedAt: instant(NOW - hours(4)), onDemandPrice: 96_000, switches24h: 0, threshold: 0.3 },
  ...{ isBusy: false, triedAt: null, standbys: [], best: place(), ...more },
})

test.each<[Partial<OnDemandStay>, string, RegExp]>([
  [{}, 'make', /^back to spot: m5\.large@us-east-1c has capacity again and saves \$0\.0560 an hour$/],
  [{ standbys: [standby('a')] }, 'hand-over', /saves \$0\.0560 an hour$/],
  [{ standbys: [standby('a', { isReady: false })] }, 'stay', /not ready yet/],
  [{ standbys: [standby('a', { isAtRisk: true })] }, 'make', /./],
  [{ launchedAt: instant(NOW - hours(4) + 1) }, 'stay', /less than 4 h/],
  [{ switches24h: 3 }, 'stay', /3 times within 24 h/],
  [{ triedAt: instant(NOW - minutes(5) + 1) }, 'stay', /a moment ago/],
  [{ isBusy: true }, 'stay', /another agent/],
  [{ best: undefined }, 'stay', /no spot pool is left/],
  [{ onDemandPrice: null }, 'stay', /nobody knows/],
  [{ best: place({ risk: 0.31 }) }, 'stay', /not safe: .* 0\.31, above 0\.3$/],
  [{ best: place({ spotPrice: 86_401 }) }, 'stay', /saves \$0\.0096 an hour, less than \$0\.0096$/],
  [{ best: place({ spotPrice: 86_400 }) }, 'make', /./],
  [{ onDemandPrice: 10_000, best: place({ spotPrice: 8001 }) }, 'stay', /less than \$0\.0020$/],
])('an agent on demand with %j: %s', (more, kind, why) => {
  const plan = planReturn(stay(more))
  expect(plan.kind).toBe(kind)
  expect(plan.why).toMatch(why)
})

test('it never moves before its time, onto what is at risk, or for too little; what is made is then moved to', () => {
  const places = fc.record({
    pool: fc.constantFrom('a', 'b'),
    spotPrice: fc.integer({ min: 0, max: 120_000 }),
    risk: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  const stays = fc.record({
    launchedAt: fc.integer({ min: 0, max: hours(100) }).map(instant),
    onDemandPrice: fc.option(fc.integer({ min: 0, max: 120_000 })),
    switches24h: fc.nat({ max: 5 }),
    isBusy: fc.boolean(),
    triedAt: fc.option(fc.integer({ min: 0, max: hours(100) }).map(instant)),
    standbys: fc.array(
      fc
        .record({ isReady: fc.boolean(), isAtRisk: fc.boolean(), place: fc.option(places), merit: fc.nat() })
        .map((more) => standby('s', more)),
      { maxLength: 3 },
    ),
    best: fc.option(places, { nil: undefined }),
  })
  fc.assert(
    fc.property(stays, (more) => {
      const all = stay(more)
      const plan = planReturn(all)
      if (plan.kind === 'stay') return
      expect(all.now - all.launchedAt).toBeGreaterThanOrEqual(hours(4))
      expect(all.switches24h).toBeLessThan(3)
      const to =
        plan.kind === 'make'
          ? all.best
          : all.standbys.find(
              ({ isReady, isAtRisk, place: at }) => isReady && !isAtRisk && at && plan.why.includes(at.pool),
            )?.place
      expect(to).toBeDefined()
      if (plan.kind !== 'make' || !to) return
      const price = all.onDemandPrice ?? 0
      expect(price - to.spotPrice).toBeGreaterThanOrEqual(Math.max(2000, price / 10) - 1e-6)
      expect(to.risk).toBeLessThanOrEqual(0.3)
      expect(planReturn({ ...all, standbys: [standby('new', { place: to })] }).kind).toBe('hand-over')
    }),
  )
})
