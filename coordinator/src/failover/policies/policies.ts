import type { Service } from '@understudy/shared/core/service'
import type { Offers } from '../offers.ts'
import type { Entry } from '../registry.ts'
import { createRescue } from './rescue.ts'
import { createSpotReturns } from './spot-return.ts'
import { createStandbyKeeper } from './standby-keeper.ts'
import { createStandbyRanks } from './standby-ranks.ts'
import type { StandbyRisks } from './standby-risks.ts'

type KeeperParts = Parameters<typeof createStandbyKeeper>[0]
type RescueParts = Parameters<typeof createRescue>[0]
type ReturnParts = Parameters<typeof createSpotReturns>[0]

/** What the coordinator does around hand-overs of its own accord. The protocol knows nothing of it. */
export interface Policies {
  readonly keeper: Service
  /** Looked at again and again while anything may be under way. */
  readonly onWaiting: (entry: Entry) => void
}

export function createPolicies(
  parts: Omit<KeeperParts, 'ranked' | 'returns'> &
    RescueParts &
    ReturnParts & { readonly offers: Pick<Offers, 'of'>; readonly risks: StandbyRisks },
): Policies {
  return {
    keeper: createStandbyKeeper({
      ...parts,
      ranked: createStandbyRanks(parts),
      returns: createSpotReturns(parts),
    }),
    onWaiting: createRescue(parts).look,
  }
}
