import { execFileSync } from 'node:child_process'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findPrograms } from '../../coordinator/src/commands/demo.ts'
import { AGENT_NODE_FLAGS } from '../../coordinator/src/demo/agent-runtime.ts'
import type { RigPrograms } from '../../coordinator/src/demo/rig.ts'

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

/** Notices by the dozen within minutes are a market in which the coordinator would add standbys of its own. */
export const NO_MORE_STANDBYS = { REBALANCE_THRESHOLD: '1' } as const

/** From sources: quicker to begin with, but not what runs in production. */
export const sourcePrograms: () => RigPrograms = findPrograms

/** Builds what production runs, and keeps a copy in `directory`, which no other build can change meanwhile. */
export function bundledPrograms(directory: string): RigPrograms {
  execFileSync(process.execPath, [path('../../.ci/build.ts')], { stdio: ['ignore', 'ignore', 'inherit'] })
  cpSync(path('../../dist'), directory, { recursive: true })
  const coordinator = join(directory, 'coordinator.js')
  return {
    coordinator: [process.execPath, coordinator, 'demo-coordinator'],
    judge: [process.execPath, coordinator, 'demo-judge'],
    // The workload is no part of the product: it is as quick to start as its own file.
    workload: [process.execPath, path('../../coordinator/src/demo/kv-server.ts')],
    agent: [process.execPath, ...AGENT_NODE_FLAGS, join(directory, 'agent.js')],
  }
}
