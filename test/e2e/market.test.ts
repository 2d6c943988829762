import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MachineImage } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { instant } from '../../shared/src/core/time.ts'
import { type Fleet, startFleet } from './support/fleet.ts'
import { until } from './support/programs.ts'

/** Agents sample the simulated EC2 with real processes, and what arrives is what the market had. */

const FIRST = 'i-demo001'
/** Of a type that only the standby looks at. */
const OF_STANDBY = 'r5.large@us-east-1c'
const OF_BOTH = 'm5.large@us-east-1c'
const MINUTE = 60_000

/** A look at the prices every second; all but the first instance look at one more type. */
const eager =
  (usual: MachineImage): MachineImage =>
  (facts) => {
    const machine = usual(facts)
    const more = facts.instanceId === FIRST ? {} : { UNDERSTUDY_ALTERNATIVE_TYPES: 'r5.large' }
    return { ...machine, env: { ...machine.env, UNDERSTUDY_PRICE_INTERVAL: '1', ...more } }
  }

let fleet: Fleet
let database: DatabaseSync | undefined
beforeAll(async () => {
  fleet = await startFleet(eager)
})
afterAll(async () => {
  database?.close()
  await fleet.close()
})

interface SubmittedRow {
  readonly pool_id: string
  readonly role: string
  readonly instance_id: string
  readonly price: number
  readonly sampled_at: number
  readonly received_at: number
}

/** What was taken, as it lies in the database; of one instance in one role if that is said. */
function submissions(instance: string | null = '%', role = '%'): readonly SubmittedRow[] {
  database ??= new DatabaseSync(join(fleet.rig.directory, 'understudy.db'), { readOnly: true })
  const rows = database
    .prepare(
      `select pool_id, role, instance_id, price, sampled_at, received_at from pricing_submissions_raw
       where verdict = 'accepted' and instance_id like ? and role like ? order by sampled_at`,
    )
    .all(instance, role)
  return rows as unknown as SubmittedRow[]
}

/** The newest bucket with a sample of the last quarter of an hour. */
async function newest(pool: string) {
  const from = new Date(Date.now() - 15 * MINUTE).toISOString()
  const { body } = await fleet.call('GET', `/api/agents/agent-a/pricing?pool=${pool}&from=${from}`)
  return body.points.findLast(({ price }: { price: number | null }) => price !== null)
}

test('samples of primary and standby arrive, outlive a coordinator that is away, and go on after a move', async () => {
  const before = await fleet.protectedAgent('agent-a')
  const [primary, standby] = [before.instance_id, before.successor_id]
  expect(primary).toBe(FIRST)
  await until('both have sent prices', () => {
    const rows = submissions(standby, 'replica')
    return submissions(primary, 'primary').length > 0 && rows.some(({ pool_id: pool }) => pool === OF_STANDBY)
  })
  expect(await newest(OF_BOTH)).toMatchObject({ data_source: 'primary', confidence: 1 })
  expect(await newest(OF_STANDBY)).toMatchObject({ data_source: 'replica', confidence: 0.95 })

  const away = Date.now()
  await fleet.rig.restartCoordinator(2000)
  const back = Date.now()
  const taken = (row: SubmittedRow) => row.sampled_at > away && row.sampled_at < back - 1000
  await until('what was sampled meanwhile has come', () => submissions(primary, 'primary').some(taken))
  for (const row of submissions(primary, 'primary').filter(taken))
    expect(row.received_at).toBeGreaterThan(back - 1000)

  const after = await fleet.untilProtected('agent-a')
  const ready = after.replicas.find(({ status }) => status === 'ready')
  const moved = await fleet.call('POST', `/api/agents/agent-a/replicas/${ready?.id}/promote`, {})
  expect(moved).toMatchObject({ status: 200, body: { new_primary: { instance_id: standby } } })
  await until('the new primary has sampled as one', async () => {
    const point = await newest(OF_STANDBY)
    return (
      submissions(standby, 'primary').length > 0 && point.data_source === 'primary' && point.confidence === 1
    )
  })

  // The market may have moved twice within the second that a sample names, so not each of them is found again.
  const rows = submissions()
  const { history } = fleet.rig.cloud.market
  const found = rows.filter(({ pool_id: pool, sampled_at: at, price }) =>
    history.between(pool, instant(at - 1000), instant(at + 1000)).some((change) => change.price === price),
  )
  expect(found.length / rows.length).toBeGreaterThan(0.8)
})

test('what is missing between two prices is found, and filled where history cannot reach', async () => {
  const pool = 'c5.large@us-east-1b'
  const start = Math.floor(Date.now() / (5 * MINUTE)) * 5 * MINUTE - 100 * MINUTE
  const at = (minutes: number) => new Date(start + minutes * MINUTE).toISOString()
  const samples = [0, 5, 30, 35].map((minutes) => ({ pool_id: pool, at: at(minutes), price: 0.03 }))
  const sent = await fleet.call('POST', '/api/agents/agent-a/pricing', { samples })
  expect(sent).toMatchObject({ status: 200, body: { accepted: 4, refused: 0 } })
  const asked = { pools: [pool], from: at(0), to: at(40) }
  const { body: scan } = await fleet.call('POST', '/api/market/gaps/scan', asked)
  expect(scan).toMatchObject({ gaps: 1, filled: 1, rows: 4, empty: 0 })
  const { body: gaps } = await fleet.call('GET', `/api/market/gaps?pool=${pool}`)
  expect(gaps.items).toMatchObject([
    { from: at(10), to: at(30), gap_class: 'medium', status: 'filled', confidence: 0.75 },
  ])
  const { body } = await fleet.call(
    'GET',
    `/api/agents/agent-a/pricing?pool=${pool}&from=${at(0)}&to=${at(40)}`,
  )
  expect(body.buckets).toMatchObject({ total: 8, interpolated: 4, missing: 0 })

  // What is as young as this market, its history knows.
  const fetch = { instance_types: ['c5.large'], regions: ['us-east-1'], days: 1 }
  const { body: task } = await fleet.call('POST', '/api/v1/ml/pricing/fetch', fetch)
  await until('the fetch has ended', async () => {
    const { status } = (await fleet.call('GET', `/api/v1/ml/pricing/fetch/${task.task_id}`)).body
    expect(status).not.toBe('failed')
    return status === 'done'
  })
  const { body: pools } = await fleet.call('GET', '/api/pools?instance_type=c5.large')
  const other = pools.items.find(({ pool_id: id }: { pool_id: string }) => id === 'c5.large@us-east-1d')
  expect(other).toMatchObject({ data_source: 'history', confidence: 1, on_demand_price: 0.085 })
  expect(other.spot_price).toBeGreaterThan(0)
})
