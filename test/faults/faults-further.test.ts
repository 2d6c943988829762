import { catalogHalves } from './catalog.ts'
import { playAll } from './suite.ts'

/** The other half of faults.test.ts. */
playAll(catalogHalves[1])
