import type { PairedRow } from '@understudy/shared/experiments/blocks'
import type { Interval } from '@understudy/shared/market/interval'

/** What models have said of pools while they were in the shadow of the active one, and what came of it. */
export interface ScoredRows {
  /**
   * Rows that both aliases (`shadow:…`) have scored in the same pass and that have a label, in any order. A row that only one
   * of them has, or whose label has not come, is left out.
   */
  paired(
    aliases: { readonly control: string; readonly treatment: string },
    range: Interval,
  ): Promise<readonly PairedRow[]>
}
