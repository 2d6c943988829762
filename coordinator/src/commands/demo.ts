import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AppError } from '@understudy/shared/core/app-error'
import { type Invocation, numberFlag } from '../command-line.ts'
import { AGENT_NODE_FLAGS } from '../demo/agent-runtime.ts'
import { runDemo } from '../demo/demo.ts'
import type { RigPrograms } from '../demo/rig.ts'

/** The demo from the command line. Exit code 0, 1 when the story did not hold, 130 when it was interrupted. */
export async function demo({ own }: Invocation): Promise<number> {
  const { script } = own
  if (script !== undefined && script !== 'ci')
    throw new AppError('input_invalid', `there is no script "${String(script)}"`, {
      hint: 'The script is called ci.',
    })
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stop.abort())
  return runDemo(
    {
      port: numberFlag(own.port, 'port', 0, 65_535),
      seed: numberFlag(own.seed, 'seed', 0, 2 ** 31) ?? 1,
      agents: numberFlag(own.agents, 'agents', 1, 50) ?? 5,
      openBrowser: own.open !== false && script === undefined,
      script: script === undefined ? undefined : 'ci',
      programs: findPrograms(),
      keepLogs: own['keep-logs'] === true,
    },
    stop.signal,
  )
}

/** In a checkout every part is run from its source; beside a bundle from the bundles. */
export function findPrograms(): RigPrograms {
  const here = dirname(fileURLToPath(import.meta.url))
  const node = process.execPath
  const sources = join(here, '../../..')
  const main = join(sources, 'coordinator/src/main.ts')
  if (existsSync(main))
    return {
      coordinator: [node, main, 'demo-coordinator'],
      judge: [node, main, 'demo-judge'],
      agent: [node, ...AGENT_NODE_FLAGS, join(sources, 'agent/src/main.ts')],
      workload: [node, join(sources, 'coordinator/src/demo/kv-server.ts')],
    }
  const bundle = join(here, 'coordinator.js')
  const agent = join(here, 'agent.js')
  if (!existsSync(agent))
    throw new AppError('config_invalid', 'the demo needs agent.js beside coordinator.js', {
      hint: 'Build both (pnpm build) and keep them together, or run the demo in a checkout (pnpm demo).',
    })
  return {
    coordinator: [node, bundle, 'demo-coordinator'],
    judge: [node, bundle, 'demo-judge'],
    agent: [node, ...AGENT_NODE_FLAGS, agent],
    workload: [node, bundle, 'demo-workload'],
  }
}
