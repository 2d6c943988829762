import { DEFAULT_MODEL_FEATURES, featureCatalog } from '../../shared/src/market/feature-catalog.ts'

/** Tells the Python side what features there are: `{catalog: […], default: [names]}` on standard output. */
process.stdout.write(`${JSON.stringify({ catalog: featureCatalog, default: DEFAULT_MODEL_FEATURES })}\n`)
