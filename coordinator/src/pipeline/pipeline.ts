import { INSTANCE_ID_PATTERN, instanceId } from '@understudy/shared/core/ids'
import { type Clock, instant } from '@understudy/shared/core/time'
import type { Signal } from '@understudy/shared/pipeline/context'
import type { PoolView } from '@understudy/shared/protocol/market'
import type { InstanceType } from '../cloud/catalog-source.ts'
import type { PoolOffer } from '../cloud/cloud.ts'
import type { FleetStore } from '../fleet/fleet.ts'
import type { Api } from '../http/http.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import { createDecisionStore } from './decision-store.ts'
import { createEvaluations, type DecisionMade, type RiskModel } from './evaluations.ts'
import { createInstanceConfigs, type InstanceConfigs } from './instance-configs.ts'
import { pipelineRoutes } from './pipeline.routes.ts'
import { typeFacts } from './type-facts.ts'

/** The front door of decisions: the rules themselves are pure and lie in shared/src/pipeline. */
export { createDecisionStore } from './decision-store.ts'
export type { DecisionMade, RiskModel } from './evaluations.ts'
export type { InstanceConfigs } from './instance-configs.ts'

export interface Pipeline {
  readonly routes: Api
  readonly configs: InstanceConfigs
}

export interface OpenPipelineParts {
  readonly db: Kysely<Schema>
  readonly fleet: Pick<FleetStore, 'instance'>
  readonly poolsIn: (region: string) => Promise<readonly PoolView[]>
  readonly instanceTypes: () => Promise<readonly InstanceType[]>
  /** What the cloud offers now. */
  readonly offers: () => readonly PoolOffer[]
  readonly model: RiskModel
  readonly clock: Clock
  readonly onDecision?: (made: DecisionMade) => Promise<void>
}

/** The decision pipeline of one coordinator. */
export function openPipeline(parts: OpenPipelineParts): Pipeline {
  const { db, fleet, clock } = parts
  const configs = createInstanceConfigs(db, clock)
  const evaluate = createEvaluations({
    clock,
    store: createDecisionStore(db),
    model: parts.model,
    sourcesOf: async (region) => ({
      pools: await parts.poolsIn(region),
      offered: parts.offers(),
      factsOf: typeFacts(await parts.instanceTypes()),
    }),
    async instanceOf(id) {
      const row = INSTANCE_ID_PATTERN.test(id) ? await fleet.instance(instanceId(id)) : undefined
      if (row) return { launchedAt: row.launched_at === null ? null : instant(row.launched_at) }
      // A target of the Lab needs no agent: that something was said of it is enough.
      return (await configs.get(id)).updatedAt === null ? undefined : { launchedAt: null }
    },
    signalsOf: (id) => openSignals(db, id),
    onDecision: parts.onDecision,
  })
  return { routes: pipelineRoutes(evaluate), configs }
}

const kinds: Readonly<Record<string, Signal['kind']>> = {
  'termination-notice': 'TERMINATION',
  'rebalance-recommendation': 'REBALANCE',
}

/** What AWS has said of an instance and is not over. */
async function openSignals(db: Kysely<Schema>, instanceId: string): Promise<Signal[]> {
  const rows = await db
    .selectFrom('spot_interruption_events')
    .select(['signal_type', 'detected_at', 'deadline_at'])
    .where('instance_id', '=', instanceId)
    .where('closed_at', 'is', null)
    .execute()
  return rows.flatMap(({ signal_type: type, detected_at: detected, deadline_at: deadline }) => {
    const kind = kinds[type]
    return kind ? [{ kind, instanceId, actionAt: instant(deadline ?? detected) }] : []
  })
}
