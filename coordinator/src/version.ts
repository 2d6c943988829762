import manifest from '../package.json' with { type: 'json' }

export const COORDINATOR_VERSION: string = manifest.version
