import type { CatalogSource } from './catalog-source.ts'
import type { HistorySource } from './history-source.ts'

/** What a coordinator can ask about prices beside its own agents. */
export interface PriceSources {
  readonly history: HistorySource
  /** Undefined where the catalog is not to be asked for, as in a simulated region. */
  readonly catalog: CatalogSource | undefined
}
