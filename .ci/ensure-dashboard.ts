import { buildDashboard } from './dashboard-build.ts'

/** Run before `pnpm demo`: the coordinator serves the built page, and a fresh checkout has none. */
await buildDashboard()
