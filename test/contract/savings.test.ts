import { afterEach, expect, test } from 'vitest'
import { addAgent, addInstance } from '../../coordinator/src/fleet/testing.ts'
import { dialects } from '../../coordinator/src/storage/testing.ts'
import { type Bench, startBench, until } from './bench.ts'
import { after, ended, fetchThem, IN_A, IN_B, iso, metric, sourcesOf } from './price-sources.ts'

/** Savings over the real API, from a history that was fetched and a fleet that has run. */

let bench: Bench
afterEach(() => bench.close())

test.each(dialects)(
  'savings, net of double running, from the times when instances ran: %s',
  async (dialect) => {
    bench = await startBench({ dialect, prices: sourcesOf() })
    await ended(bench, await fetchThem(bench, ['c5.large']))
    await addFleet()
    await until(async () => (await bench.call('GET', '/api/pools')).body.items[0]?.on_demand_price === 0.085)
    const from = (hour: number, to: number) => `from=${iso(after(hour))}&to=${iso(after(to))}`
    const savings = async (path: string) => (await bench.call('GET', path)).body

    // a: 5.5 h in zone a (4 h at 0.04, 1.5 h at 0.05) and 4.5 h in zone b at 0.03, of which one hour is not known: 0.34.
    // On demand 9 h at 0.085: 0.765. Half an hour of b beside a (0.015), half an hour of a beside b (0.025): 0.04.
    const own = await savings(`/api/agents/a/savings?${from(0, 10)}`)
    expect(own).toEqual({
      agent_id: 'a',
      from: iso(after(0)),
      to: iso(after(10)),
      spot_cost: 0.34,
      on_demand_cost: 0.765,
      double_running_cost: 0.04,
      // Nobody has measured what a move costs in transfer.
      switch_cost: null,
      switches: 1,
      net_savings: 0.385,
      counted_hours: 9,
      unknown_hours: 1,
      on_demand_rate_percent: 100,
    })
    // b was bought on demand, where it cost 0.085 and saved nothing.
    expect(await savings(`/api/savings?${from(0, 10)}`)).toMatchObject({
      agent_id: null,
      spot_cost: 0.425,
      on_demand_cost: 0.85,
      net_savings: 0.385,
      counted_hours: 10,
    })
    const parts = [await savings(`/api/savings?${from(0, 4)}`), await savings(`/api/savings?${from(4, 10)}`)]
    const sum = (key: string) => parts.reduce((total, part) => total + part[key], 0)
    expect(sum('net_savings')).toBeCloseTo(0.385, 9)
    expect(sum('switches')).toBe(1)
    expect(sum('counted_hours')).toBe(10)
    expect(await metric(bench, 'spot_cost_savings_usd')).toBeGreaterThan(0.385)
    expect(await bench.call('GET', '/api/agents/none/savings')).toMatchObject({ status: 404 })
    expect(await bench.call('GET', `/api/savings?${from(2, 1)}`)).toMatchObject({ status: 400 })
  },
)

test('savings are net of what each change of primary costs, where somebody has said how much', async () => {
  bench = await startBench({ prices: sourcesOf(), env: { UNDERSTUDY_SWITCH_COST: '0.02' } })
  await ended(bench, await fetchThem(bench, ['c5.large']))
  await addFleet()
  await until(async () => (await bench.call('GET', '/api/pools')).body.items[0]?.on_demand_price === 0.085)
  const path = `/api/agents/a/savings?from=${iso(after(0))}&to=${iso(after(10))}`
  expect((await bench.call('GET', path)).body).toMatchObject({
    switches: 1,
    switch_cost: 0.02,
    net_savings: 0.365,
  })
})

/**
 * Agent a moves from i-a0 to i-b0 at 5.5 h; i-b0 runs from 5 h on, i-a0 to 6 h, and for the eighth hour an instance in a
 * pool without any price. Agent b has run on demand for one hour.
 */
async function addFleet(): Promise<void> {
  const stays: [string, string, string, string, number, number | null][] = [
    ['i-a0', 'a', IN_A, 'spot', 0, 6],
    ['i-b0', 'a', IN_B, 'spot', 5, null],
    ['i-c0', 'a', 'r5.large@us-east-1d', 'spot', 7, 8],
    ['i-d0', 'b', IN_B, 'on-demand', 0, 1],
  ]
  await addAgent(bench.db, { id: 'a', instance_id: 'i-b0' })
  await addAgent(bench.db, { id: 'b', instance_id: 'i-d0' })
  for (const [id, agent, pool, cycle, from, to] of stays)
    await addInstance(bench.db, {
      id,
      agent_id: agent,
      pool_id: pool,
      life_cycle: cycle,
      launched_at: after(from),
      enrolled_at: after(from) + 60_000,
      terminated_at: to === null ? null : after(to),
    })
  await bench.db
    .insertInto('instance_switches')
    .values({
      id: crypto.randomUUID(),
      agent_id: 'a',
      epoch: 2,
      incident_id: null,
      switch_reason: 'manual',
      old_instance_id: 'i-a0',
      new_instance_id: 'i-b0',
      old_pool_id: IN_A,
      new_pool_id: IN_B,
      old_instance_price: 50_000,
      new_instance_price: 30_000,
      success: 1,
      switched_at: after(5.5),
    })
    .execute()
}
