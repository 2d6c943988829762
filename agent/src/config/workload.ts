import { type Millis, seconds } from '@understudy/shared/core/time'
import { z } from 'zod'
import { problemOfPattern } from '../replication/selection.ts'

/** `workload` in the agent's file: what is protected, and how it is started, stopped and held still. */

const deadline = (fallback: number) =>
  z
    .number({ error: 'timeout_seconds must be a number from 0.05 to 3600' })
    .min(0.05)
    .max(3600)
    .default(fallback)
    .transform((value): Millis => seconds(value))

const commandSchema = z
  .array(z.string().min(1), { error: 'command must be a list, such as [systemctl, start, app]' })
  .min(1)

const command = (fallback: number) =>
  z.strictObject({ command: commandSchema, timeout_seconds: deadline(fallback) })

const health = z.union(
  [
    z.strictObject({ command: commandSchema, timeout_seconds: deadline(30) }),
    z.strictObject({ http: z.url({ protocol: /^http$/ }), timeout_seconds: deadline(30) }),
  ],
  { error: 'health needs either `command: [...]` or `http: http://127.0.0.1:PORT/path`' },
)

const hooksSchema = z
  .strictObject({
    /** Brings the workload up and returns; run again on a running workload it changes nothing. */
    start: command(30),
    /** Ends it; run again on a stopped workload it changes nothing. */
    stop: command(10),
    /** Holds it still so that the state directories do not change. Without it `stop` is used. */
    freeze: command(5).optional(),
    thaw: command(5).optional(),
    /** Asked again and again until it succeeds or its time is up. */
    health,
  })
  .refine((hooks) => (hooks.freeze === undefined) === (hooks.thaw === undefined), {
    error: 'freeze and thaw come together: name both or neither',
  })

/** Patterns for names below each state directory; docs/replication.md says what they match. */
const patterns = z
  .array(
    z.string().superRefine((pattern, context) => {
      const problem = problemOfPattern(pattern)
      if (problem) context.addIssue({ code: 'custom', message: `this pattern ${problem}` })
    }),
    { error: 'must be a list of patterns, such as [cache/, "**/*.tmp"]' },
  )
  .max(256)
  .default([])

export const workloadSchema = z.strictObject({
  /** Directories that a replica must have. */
  state: z.array(z.string().min(1)).min(1).max(64),
  /** What of it is replicated (everything where there is no include), what is not, and what goes first. */
  include: patterns,
  exclude: patterns,
  priority: patterns,
  /**
   * So often the workload is held still for a moment, and a replica gets what has changed as one whole; without it
   * changes stream as they come.
   */
  cut_every_seconds: z.number({ error: 'must be a number from 0.1 to 3600' }).min(0.1).max(3600).optional(),
  /** Where the hooks run; the directory of the file by default. */
  directory: z.string().optional(),
  /** Extra variables for the hooks. */
  environment: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string()).default({}),
  hooks: hooksSchema,
})
export type Workload = z.infer<typeof workloadSchema>
