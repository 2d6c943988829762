import { z } from 'zod'
import type { Json, JsonChange } from '../core/json-change.ts'
import type { Problem } from './problem.ts'

/**
 * `/api/live/readings`: what pages read of the API, kept up to date. A page watches readings by name; each is answered with
 * a `snapshot` of what GET answers, then with what changes of it. `seq` counts the frames of one reading from 0, its
 * snapshot: after a gap the page watches it again.
 */

/** What pages show, by name; the coordinator knows which call of the API each is. */
export type ReadingName =
  | 'agent-savings'
  | 'agent-switches'
  | 'audit'
  | 'catalog-advisor'
  | 'catalog-on-demand'
  | 'deliveries'
  | 'drills'
  | 'engine'
  | 'engines'
  | 'experiment-results'
  | 'experiments'
  | 'gap-fills'
  | 'lab-config'
  | 'lab-decisions'
  | 'lab-models'
  | 'lab-performance'
  | 'lab-status'
  | 'model'
  | 'model-activations'
  | 'model-alerts'
  | 'model-performance'
  | 'model-uploads'
  | 'models'
  | 'pool-prices'
  | 'pool-risk'
  | 'pools'
  | 'predictions'
  | 'receivers'
  | 'savings'
  | 'settings'
  | 'switches'

const id = z.int().min(1).max(1_000_000_000)
const words = (most: number) =>
  z
    .record(z.string().max(40), z.string().max(most))
    .refine((all) => Object.keys(all).length <= 10, 'at most 10 of them')

/** `id` is the page's own name for it. Watching the same id again begins anew. */
const watchSchema = z.strictObject({
  type: z.literal('watch'),
  id,
  name: z.string().max(40),
  params: words(200).optional(),
  query: words(200).optional(),
  /** Up to now, for what is of a span of time. */
  hours: z.int().min(1).max(2400).optional(),
})

export const readingsRequestSchema = z.discriminatedUnion('type', [
  watchSchema,
  /** Read it now: the frame of the first reading that begins from now on has this `read`. */
  z.strictObject({ type: z.literal('read'), id, read: z.int().min(1) }),
  z.strictObject({ type: z.literal('leave'), id }),
])
export type ReadingsRequest = z.infer<typeof readingsRequestSchema>
export type WatchRequest = z.infer<typeof watchSchema>

interface OfReading {
  readonly id: number
  readonly seq: number
  /** It answers requests to read up to this one. */
  readonly read?: number
}

/** Written by the coordinator alone, so that the page need not check it. */
export type ReadingFrame =
  /** `path` is the GET that answers the same. */
  | (OfReading & { readonly type: 'snapshot'; readonly path: string; readonly value: Json })
  | (OfReading & { readonly type: 'patch'; readonly path?: string; readonly change: JsonChange })
  /** It was read, and is as it was. */
  | (OfReading & { readonly type: 'same' })
  /** It could not be read; it is tried again. */
  | (OfReading & { readonly type: 'failed'; readonly problem: Problem })
  /** It is not watched. */
  | { readonly type: 'refused'; readonly id: number | null; readonly problem: Problem }

/** What is too long for one message comes as parts of its text; nothing else comes between them. */
export type ReadingsMessage =
  | ReadingFrame
  | { readonly type: 'part'; readonly text: string; readonly more: boolean }
  /** Everything that is watched is as it was said. */
  | { readonly type: 'still' }
