import type { CoordinatorConfig } from './options.ts'

/** What the coordinator takes itself for: what is said, and TEST where nobody says anything, because there nothing is risked. */
export const environmentOf = ({
  environment,
  prod,
}: Pick<CoordinatorConfig, 'environment' | 'prod'>): 'TEST' | 'PROD' =>
  environment ?? (prod ? 'PROD' : 'TEST')
