import { z } from 'zod'

export const healthSchema = z
  .object({
    status: z.enum(['healthy', 'degraded']),
    service: z.literal('understudy-coordinator'),
    version: z.string(),
    database: z.enum(['ok', 'failing']),
    cloud: z.string(),
    agents: z.object({ total: z.int(), online: z.int() }),
    uptime_seconds: z.number(),
  })
  .meta({ id: 'Health' })
export type Health = z.infer<typeof healthSchema>
