import { z } from 'zod'

/** Every error answer: RFC 9457, with our code and the places where the input was wrong. */
export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    hint: z.string().optional(),
    errors: z.array(z.object({ pointer: z.string(), message: z.string() })),
    /** Facts that have changed since the caller last looked, such as the current epoch. */
    facts: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'Problem' })
export type Problem = z.infer<typeof problemSchema>
