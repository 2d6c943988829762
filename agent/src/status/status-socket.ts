import { rmSync } from 'node:fs'
import { createServer, request, type Server } from 'node:http'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { degradationSchema } from '@understudy/shared/protocol/link'
import { z } from 'zod'
import { switchSchema } from '../record/record.ts'

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
  workload: z.string(),
  lease: z.object({ mode: z.enum(['none', 'solo', 'leased']), remaining_ms: z.number().nullable() }),
  replication_port: z.int().nullable(),
  whole_copy: z.boolean(),
  sync: z.object({ bytes_done: z.int(), bytes_total: z.int(), seq: z.int() }).nullable(),
  replicas: z.array(
    z.object({ instance_id: z.string(), attached: z.boolean(), lag_bytes: z.int(), lag_ms: z.number() }),
  ),
  open_notice: z.string().nullable(),
  /** Changes of primary that this instance knows of; null from an agent that keeps no record. */
  record: z.object({ switches: z.int(), last_switch: switchSchema.nullable() }).nullable().default(null),
  degraded: z.array(degradationSchema),
})
export type AgentStatus = z.infer<typeof agentStatusSchema>

/**
 * Serves the status on a unix socket that only the agent's user can open.
 * @throws AppError `config_invalid`
 */
export async function serveStatus(path: string, status: () => AgentStatus): Promise<Server> {
  const server = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(status()))
  })
  const before = process.umask(0o077)
  try {
    // Left behind by an agent that was killed; a running one holds the lock of the data directory.
    rmSync(path, { force: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(path, resolve)
    })
  } catch (cause) {
    throw new AppError('config_invalid', `the status socket ${path} cannot be opened (${messageOf(cause)})`, {
      hint: 'Remove what is there, or choose another data_dir; with /agent.sock its path may have 107 characters.',
      cause,
    })
  } finally {
    process.umask(before)
  }
  return server
}

/** @throws AppError `unavailable` when no agent answers there */
export function askStatus(path: string): Promise<AgentStatus> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: path, path: '/status', timeout: 2000 }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        text += part
      })
      response.on('end', () => {
        try {
          resolve(agentStatusSchema.parse(JSON.parse(text)))
        } catch (cause) {
          reject(new AppError('protocol', `the answer on ${path} is not an agent's`, { cause }))
        }
      })
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer within 2 s')))
    outgoing.on('error', (cause) =>
      reject(
        new AppError('unavailable', `no agent answers on ${path} (${systemCodeOf(cause) ?? cause.message})`, {
          hint: 'Start it with `systemctl start understudy-agent`, or name its file with --config.',
          cause,
        }),
      ),
    )
    outgoing.end()
  })
}
