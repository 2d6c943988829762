import { z } from 'zod'
import { agentViewSchema } from './agents.ts'
import { incidentViewSchema } from './incidents.ts'

/**
 * `/api/live`: one snapshot, then patches. `seq` counts every frame; a gap means that a frame was lost and the client
 * asks for a new snapshot by reconnecting. Within a patch the latest value of each key wins.
 */

/** What the demo's own client has seen; absent outside the demo. */
export const demoCountersSchema = z.object({
  agent_id: z.string(),
  sent: z.int(),
  acked: z.int(),
  retried: z.int(),
  lost: z.int(),
})
export type DemoCounters = z.infer<typeof demoCountersSchema>

export const demoViewSchema = z.object({
  seed: z.int(),
  story: z.array(z.object({ at: z.int(), text: z.string() })),
  counters: z.array(demoCountersSchema),
})
export type DemoView = z.infer<typeof demoViewSchema>

const contentSchema = z.object({
  agents: z.record(z.string(), agentViewSchema.nullable()),
  /** The latest incidents by id, each with its steps. */
  incidents: z.record(z.string(), incidentViewSchema.nullable()),
  demo: demoViewSchema.nullish(),
})

export const liveFrameSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('snapshot'),
    seq: z.int(),
    at: z.int(),
    version: z.string(),
    mode: z.enum(['demo', 'serve']),
    content: contentSchema,
  }),
  z.object({ type: z.literal('patch'), seq: z.int(), at: z.int(), content: contentSchema.partial() }),
  /** Sent when nothing has changed, so that the page can tell silence from stillness. */
  z.object({ type: z.literal('still'), seq: z.int(), at: z.int() }),
])
export type LiveFrame = z.infer<typeof liveFrameSchema>
export type LiveContent = z.infer<typeof contentSchema>
