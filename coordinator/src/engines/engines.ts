import type { Clock } from '@understudy/shared/core/time'
import type { Policy } from '@understudy/shared/pipeline/context'
import type { SpotConfig } from '@understudy/shared/protocol/spot-optimizer'
import type { Logger } from 'pino'
import type { Api, Audit } from '../http/http.ts'
import type { Pipeline } from '../pipeline/pipeline.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import { engineRoutes } from './engines.routes.ts'
import { createRegistry } from './registry.ts'
import { createSelectedEngines } from './selected-engines.ts'
import { createSelectionStore } from './selection-store.ts'
import { fromConfig } from './spot-input.ts'
import { createSpotOptimize } from './spot-optimize.ts'
import { createSpotOptimizer } from './spot-optimizer.ts'

/** The front door of engines: what can decide, and which of them does. */
export interface Engines {
  readonly routes: readonly Api[]
  /** To be done before anything is decided. */
  load(): Promise<void>
  /** How the spot optimizer is set otherwise than usual; the same object until somebody changes it. */
  spotPolicy(): Partial<Policy>
}

export interface OpenEnginesParts {
  readonly db: Kysely<Schema>
  /** The id of the engine that decides for agents until somebody selects another. */
  readonly active: string
  /** What the installation sets for all targets. */
  readonly settings: Partial<Policy>
  readonly pipeline: Pick<Pipeline, 'standing' | 'lastDecision' | 'regionNow'>
  readonly audit: Audit
  readonly clock: Clock
  readonly log: Logger
}

export function openEngines({
  db,
  active,
  settings,
  pipeline,
  audit,
  clock,
  log,
}: OpenEnginesParts): Engines {
  const spot = createSpotOptimizer({
    settings,
    standing: pipeline.standing,
    // Nothing else decides the same, so there is nothing that could agree with it.
    measured: async () => ({ last: await pipeline.lastDecision(), agreementRate: null }),
  })
  const registry = createRegistry([spot])
  const store = createSelectionStore(db, clock)
  const selected = createSelectedEngines({ registry, store, configured: [active], log })
  const spotOptimize = createSpotOptimize({
    ...{ engine: spot, selected, clock },
    regionNow: pipeline.regionNow,
  })
  let known: { readonly config: SpotConfig; readonly policy: Partial<Policy> } | undefined

  return {
    routes: [engineRoutes({ registry, selected, spotOptimize, audit, clock })],
    load: selected.load,
    spotPolicy() {
      const config: SpotConfig = selected.configOf(spot)
      if (known?.config !== config) known = { config, policy: { ...settings, ...fromConfig(config) } }
      return known.policy
    },
  }
}
