import { request, type ServerResponse } from 'node:http'
import { AppError, isAppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { type Clock, systemClock } from '@understudy/shared/core/time'
import { z } from 'zod'
import type { LocalRoutes } from '../status/local-server.ts'
import type { SnapshotService } from './snapshot-service.ts'

/** `POST /snapshot` on the agent's socket: one JSON object a line, the last of which says how it ended. */

const answerSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('progress'),
    step: z.string(),
    packs: z.int(),
    bytes_sent: z.int(),
    bytes_there: z.int(),
    state_bytes: z.int(),
  }),
  z.object({
    kind: z.literal('taken'),
    id: z.string(),
    taken_at: z.string(),
    workload: z.string(),
    state_bytes: z.int(),
    bytes_sent: z.int(),
    bytes_there: z.int(),
    took_ms: z.int(),
  }),
  z.object({ kind: z.literal('failed'), code: z.string(), message: z.string(), hint: z.string().optional() }),
])
export type SnapshotAnswer = z.infer<typeof answerSchema>

/** Makes a snapshot for whoever asks, and says how it goes. */
export const snapshotRoutes = (service: SnapshotService | undefined): LocalRoutes => ({
  'POST /snapshot': (_, response) => answerSnapshot(service, response, systemClock),
})

async function answerSnapshot(
  service: SnapshotService | undefined,
  response: ServerResponse,
  clock: Clock,
): Promise<void> {
  const say = (answer: SnapshotAnswer) => response.write(`${JSON.stringify(answer)}\n`)
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  const begun = clock.mono()
  try {
    if (!service)
      throw new AppError('config_invalid', 'no snapshot store is set', {
        hint: 'Set snapshot_store to s3://bucket/prefix or to a directory, and restart the agent.',
      })
    const { snapshot, bytesSent, bytesThere } = await service.takeNow((progress) =>
      say({ kind: 'progress', ...progress }),
    )
    const { id, taken_at, workload, tree } = snapshot
    const took = Math.round(clock.mono() - begun)
    say({
      kind: 'taken',
      id,
      taken_at,
      workload,
      state_bytes: tree.bytes,
      bytes_sent: bytesSent,
      bytes_there: bytesThere,
      took_ms: took,
    })
  } catch (error) {
    say({
      kind: 'failed',
      code: isAppError(error) ? error.code : 'internal',
      message: messageOf(error),
      ...(isAppError(error) && error.hint ? { hint: error.hint } : {}),
    })
  }
  response.end()
}

/** @throws AppError `unavailable` when no agent answers there */
export async function* askSnapshot(path: string): AsyncGenerator<SnapshotAnswer> {
  const response = await new Promise<NodeJS.ReadableStream>((resolve, reject) => {
    const outgoing = request({ socketPath: path, path: '/snapshot', method: 'POST' }, resolve)
    outgoing.on('error', (cause) =>
      reject(
        new AppError('unavailable', `no agent answers on ${path} (${systemCodeOf(cause) ?? cause.message})`, {
          hint: 'A snapshot is made by the running agent: systemctl start understudy-agent',
          cause,
        }),
      ),
    )
    outgoing.end()
  })
  let rest = ''
  response.setEncoding('utf8')
  for await (const part of response) {
    const lines = `${rest}${part}`.split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) yield parseAnswer(line, path)
  }
}

function parseAnswer(line: string, path: string): SnapshotAnswer {
  try {
    return answerSchema.parse(JSON.parse(line))
  } catch (cause) {
    throw new AppError('protocol', `the answer on ${path} is not an agent's`, { cause })
  }
}
