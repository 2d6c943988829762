import {
  epochSchema,
  incidentIdSchema,
  instanceIdSchema,
  timeSchema,
} from '@understudy/shared/protocol/primitives'
import { z } from 'zod'

/** What the files of the record hold: one JSON object per line, oldest first. */

const MAX_SWITCHES = 1000

export const switchSchema = z.object({
  /** `primary`: it became primary of the epoch. `hand-over`: it began to give it to `to`; `called-off`: it kept it. */
  kind: z.enum(['primary', 'hand-over', 'called-off']),
  epoch: epochSchema,
  /** By the wall clock of the instance that wrote it. */
  at: timeSchema,
  instance: instanceIdSchema,
  incident: incidentIdSchema.optional(),
  to: instanceIdSchema.optional(),
  /** The hand-over was because of a notice. */
  urgent: z.boolean().optional(),
  /** It began with nothing: no whole copy was left. */
  fresh: z.boolean().optional(),
})
/** Something that happened to the epoch, as the instance that owned it saw it. */
export type Switch = z.infer<typeof switchSchema>

export const parseSwitches = (text: string): Switch[] => parseLines(text, switchSchema)

/** Lines that a crash or a hand has damaged are left out; the others count. */
function parseLines<T>(text: string, schema: z.ZodType<T>): T[] {
  return text.split('\n').flatMap((line) => {
    try {
      const parsed = schema.safeParse(JSON.parse(line))
      return parsed.success ? [parsed.data] : []
    } catch {
      return []
    }
  })
}

export const toLines = (values: readonly unknown[]): string =>
  values.map((value) => `${JSON.stringify(value)}\n`).join('')

export const boundedSwitches = (switches: readonly Switch[]): Switch[] => switches.slice(-MAX_SWITCHES)
