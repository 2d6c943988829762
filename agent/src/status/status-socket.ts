import type { Server } from 'node:http'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { seconds } from '@understudy/shared/core/time'
import { degradationSchema } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import { z } from 'zod'
import { marketStatusSchema } from '../market/market.ts'
import { switchSchema } from '../record/record.ts'
import { snapshotStatusSchema } from '../snapshot/snapshot.ts'
import { askAgent } from './local-client.ts'
import { answerJson, createLocalServer, type LocalRoutes } from './local-server.ts'
import { listenPrivately } from './unix-socket.ts'

/** What a running agent says of itself over a socket in its data directory. */
export const agentStatusSchema = z.object({
  schema: z.literal('understudy.agent-status/v1'),
  version: z.string(),
  agent_id: z.string().nullable(),
  instance_id: z.string().nullable(),
  coordinator_url: z.string(),
  connected: z.boolean(),
  role: z.string(),
  epoch: z.int(),
  /** The epoch in which the primary took office. */
  term: z.int(),
  workload: z.string(),
  lease: z.object({ mode: z.enum(['none', 'solo', 'leased']), remaining_ms: z.number().nullable() }),
  /** By whom; the longest counts of those who vote. */
  leases: z.array(z.object({ voter: z.string(), ms_left: z.number() })),
  /** Who takes over, and votes; by the newest certificate. */
  successor: z.string().nullable(),
  voter: z.object({
    state: z.enum(['quiet', 'learner', 'successor', 'candidate', 'in-office', 'resigned']),
    port: z.int(),
    epoch: z.int(),
    voted: z.int(),
    resigned: z.int(),
    /** It reaches the coordinator, and these other instances. */
    coordinator: z.boolean(),
    peers: z.array(z.string()),
  }),
  replication_port: z.int().nullable(),
  whole_copy: z.boolean(),
  sync: z.object({ bytes_done: z.int(), bytes_total: z.int(), seq: z.int() }).nullable(),
  replicas: z.array(
    z.object({
      instance_id: z.string(),
      attached: z.boolean(),
      lag_bytes: z.int(),
      lag_ms: z.number(),
      /** What was compared on both disks since the replica connected, and what differed. */
      verified: z.object({ passes: z.int(), files: z.int(), bytes: z.int(), mismatches: z.int() }),
    }),
  ),
  /** Null where the state streams without cuts. */
  cuts: z
    .object({
      taken: z.int(),
      failed: z.int(),
      pause_ms: z.number().nullable(),
      age_ms: z.number().nullable(),
    })
    .nullable()
    .default(null),
  /** Null where no store is configured. */
  snapshots: snapshotStatusSchema.nullable().default(null),
  open_notice: z.string().nullable(),
  /** Changes of primary that this instance knows of; null from an agent that keeps no record. */
  record: z.object({ switches: z.int(), last_switch: switchSchema.nullable() }).nullable().default(null),
  /** Null from an agent that samples no prices. */
  prices: marketStatusSchema.nullable().default(null),
  degraded: z.array(degradationSchema),
})
export type AgentStatus = z.infer<typeof agentStatusSchema>

/**
 * Serves the status, and what else is asked of a running agent, on a unix socket that only the agent's user can open.
 * @throws AppError `config_invalid`
 */
export async function serveStatus(
  path: string,
  status: () => AgentStatus,
  more: LocalRoutes,
  log: Logger,
): Promise<Server> {
  const server = createLocalServer(
    { 'GET /status': (_, response) => answerJson(response, status()), ...more },
    log,
  )
  try {
    await listenPrivately(server, path)
  } catch (cause) {
    throw new AppError('config_invalid', `the status socket ${path} cannot be opened (${messageOf(cause)})`, {
      hint: 'Remove what is there, or choose another data_dir; with /agent.sock its path may have 107 characters.',
      cause,
    })
  }
  return server
}

/** @throws AppError `unavailable` when no agent answers there */
export async function askStatus(path: string): Promise<AgentStatus> {
  const answer = await askAgent({ socket: path, method: 'GET', path: '/status', patience: seconds(2) })
  const status = agentStatusSchema.safeParse(answer)
  if (status.success) return status.data
  throw new AppError('protocol', `the answer on ${path} is not an agent's`, { cause: status.error })
}
