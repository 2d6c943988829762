import { instant } from '@understudy/shared/core/time'
import { CompiledQuery, createQueryId, type RootOperationNode } from 'kysely'
import { expect, test } from 'vitest'
import { testDatabase } from '../storage/testing.ts'
import { createLabelStore } from './label-store.ts'

test('SQLite finds what waits for labels without reading all that a model has ever said', async () => {
  const { db, close } = await testDatabase('sqlite')
  try {
    const asked: RootOperationNode[] = []
    const store = createLabelStore(
      db.withPlugin({
        transformQuery({ node }) {
          asked.push(node)
          return node
        },
        transformResult: ({ result }) => Promise.resolve(result),
      }),
    )
    await store.pendingPools('model-a', 1000)
    await store.pendingTimes('model-a', {
      ...{ pool: 1, poolId: 'm5.large@us-east-1a', first: instant(0), last: instant(1000) },
    })
    await store.isPending('model-a', 0, 1000)
    const plans: string[] = []
    for (const node of asked) {
      const { sql, parameters } = db.getExecutor().compileQuery(node, createQueryId())
      const { rows } = await db.executeQuery<{ detail: string }>(
        CompiledQuery.raw(`explain query plan ${sql}`, [...parameters]),
      )
      plans.push(rows.map(({ detail }) => detail).find((detail) => detail.includes(' l ')) ?? '')
    }
    expect(plans).toEqual([
      'SEARCH l USING INDEX predictions_log_pending (at<?)',
      'SEARCH l USING PRIMARY KEY (pool=? AND at>? AND at<?)',
      'SEARCH l USING INDEX predictions_log_pending (at>? AND at<?)',
    ])
  } finally {
    await close()
  }
})
