import { readFileSync } from 'node:fs'
import { uploadForm } from '../../coordinator/src/models/testing.ts'
import { ensurePartitions } from '../../coordinator/src/storage/partitions.ts'
import type { Bench } from './bench.ts'

const REGISTRY = new URL('../../models/registry/price-instability/1.0.0/', import.meta.url)
const HOUR = 3_600_000

/** Uploads the model that comes with the sources and makes it the active one. Returns its id. */
export async function activateOwnModel(bench: Bench): Promise<string> {
  const file = readFileSync(new URL('model.onnx', REGISTRY))
  const manifest: unknown = JSON.parse(readFileSync(new URL('manifest.json', REGISTRY), 'utf8'))
  let answer = ''
  // A trial has 10 s, which a machine that others use may not give at once.
  for (let attempt = 0; attempt < 3; attempt++) {
    const uploaded = await fetch(`${bench.url}/api/v1/ml/models/upload`, {
      method: 'POST',
      headers: { authorization: `Bearer ${bench.adminToken}` },
      body: uploadForm({ file, manifest }),
    })
    answer = await uploaded.text()
    const { model_id: id } = JSON.parse(answer) as { model_id?: string }
    if (id === undefined) continue
    await bench.call('POST', '/api/v1/ml/models/activate', { model_id: id })
    return id
  }
  throw new Error(`the model was not taken: ${answer}`)
}

/** Ten days of prices, in micro-dollars; the first of each pool holds from their beginning. */
export async function addHistory(
  db: Bench['db'],
  changes: Readonly<Record<string, readonly { readonly at?: number; readonly price: number }[]>>,
): Promise<void> {
  const now = Date.now()
  const start = now - 240 * HOUR
  await db
    .insertInto('pools')
    .values(
      Object.keys(changes).map((id) => {
        const [instanceType = '', zone = ''] = id.split('@')
        return {
          pool_id: id,
          instance_type: instanceType,
          region: zone.slice(0, -1),
          availability_zone: zone,
        }
      }),
    )
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  const pools = await db.selectFrom('pools').select(['id', 'pool_id']).execute()
  for (const [id, prices] of Object.entries(changes)) {
    const pool = pools.find(({ pool_id }) => pool_id === id)?.id ?? 0
    const steps = prices.map(({ at = start, price }) => ({ at, price }))
    await ensurePartitions(
      db,
      'price_changes',
      steps.map(({ at }) => at),
    )
    await db
      .insertInto('price_changes')
      .values(steps.map((step) => ({ ...step, pool, source: 'history' })))
      .execute()
    await db
      .insertInto('price_coverage')
      .values({ pool, from_at: start, to_at: now, source: 'history', fetched_at: now })
      .execute()
  }
}
