import type { Server } from 'node:http'
import { AppError } from '@understudy/shared/core/app-error'
import { type Millis, millis, seconds } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import { z } from 'zod'
import { askAgent } from '../status/local-client.ts'
import { answerJson, createLocalServer, type LocalRoutes, readJson } from '../status/local-server.ts'
import { listenForGroup } from '../status/unix-socket.ts'
import { COMMIT_BUDGET, type Commit, MAX_COMMIT_BUDGET } from './joint-commit.ts'

export { isReadyToSucceed } from './before-succession.ts'
export { type Commit, createCommit } from './joint-commit.ts'

const questionSchema = z.strictObject({
  timeout_ms: z
    .int({ error: `must be a whole number of milliseconds from 1 to ${MAX_COMMIT_BUDGET}` })
    .min(1)
    .max(MAX_COMMIT_BUDGET)
    .default(COMMIT_BUDGET),
})

const answerSchema = z.object({
  schema: z.literal('understudy.agent-commit/v1'),
  durable_on: z.array(z.string()),
  took_ms: z.number(),
})
export type CommitAnswer = z.infer<typeof answerSchema>

/** `POST /commit {timeout_ms?}`, for the agent's own socket and for the one of a group. */
export const commitRoutes = (commit: Commit): LocalRoutes => ({
  async 'POST /commit'(request, response) {
    const question = questionSchema.safeParse((await readJson(request)) ?? {})
    if (!question.success)
      throw new AppError(
        'input_invalid',
        question.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '),
        {
          hint: 'The body may be empty, or {"timeout_ms": 10000}.',
        },
      )
    const { durableOn, took } = await commit(millis(question.data.timeout_ms))
    const answer: CommitAnswer = {
      schema: 'understudy.agent-commit/v1',
      durable_on: [...durableOn],
      took_ms: Math.round(took * 10) / 10,
    }
    answerJson(response, answer)
  },
})

/**
 * A socket that says nothing but this, for a workload that runs as another user than the agent.
 * @throws AppError `config_invalid`
 */
export async function serveCommit(path: string, commit: Commit, log: Logger): Promise<Server> {
  const server = createLocalServer(commitRoutes(commit), log)
  await listenForGroup(server, path)
  return server
}

/** What `--timeout` says, in seconds. @throws AppError `input_invalid` */
export function commitBudget(text: string | undefined): Millis {
  if (text === undefined) return COMMIT_BUDGET
  const budget = text.trim() === '' ? Number.NaN : Number(text) * 1000
  if (budget >= 1 && budget <= MAX_COMMIT_BUDGET) return millis(budget)
  throw new AppError(
    'input_invalid',
    `--timeout is "${text}": must be seconds from 0.001 to ${MAX_COMMIT_BUDGET / 1000}`,
  )
}

/** @throws AppError as `Commit`, or `unavailable` when no agent answers */
export async function askCommit(socket: string, budget: Millis): Promise<CommitAnswer> {
  const answer = answerSchema.safeParse(
    await askAgent({
      socket,
      method: 'POST',
      path: '/commit',
      body: { timeout_ms: Math.ceil(budget) },
      patience: millis(budget + seconds(5)),
    }),
  )
  if (answer.success) return answer.data
  throw new AppError('protocol', `the agent on ${socket} does not know how to commit`, {
    hint: 'It runs an older version than this program: restart it.',
    cause: answer.error,
  })
}
