import { type Instant, instant } from '@understudy/shared/core/time'
import { z } from 'zod'

/** The answers of the metadata service, read with care: a document that is not as documented is no notice. */

export type InterruptionAction = 'terminate' | 'stop' | 'hibernate'

export interface InterruptionNotice {
  readonly action: InterruptionAction
  /** About when it happens; in the past for `hibernate`, and where the service was slow. */
  readonly time: Instant
}

const interruptionSchema = z.object({
  action: z.enum(['terminate', 'stop', 'hibernate']),
  time: z.iso.datetime({ offset: true }),
})

/** `spot/instance-action`. undefined when it is not a notice. */
export function parseInterruption(body: string): InterruptionNotice | undefined {
  const parsed = interruptionSchema.safeParse(parseJson(body))
  if (!parsed.success) return undefined
  return { action: parsed.data.action, time: instant(Date.parse(parsed.data.time)) }
}

const rebalanceSchema = z.object({ noticeTime: z.iso.datetime({ offset: true }) })

/** `events/recommendations/rebalance`: when it was emitted, not a deadline. */
export function parseRebalance(body: string): { readonly noticeTime: Instant } | undefined {
  const parsed = rebalanceSchema.safeParse(parseJson(body))
  return parsed.success ? { noticeTime: instant(Date.parse(parsed.data.noticeTime)) } : undefined
}

export interface MaintenanceEvent {
  readonly eventId: string
  readonly code: string
  readonly state: string
  readonly description: string
  readonly notBefore: Instant | null
}

const maintenanceSchema = z.array(
  z.object({
    EventId: z.string().max(120),
    Code: z.string().max(60),
    State: z.string().max(30).default('active'),
    Description: z.string().default(''),
    NotBefore: z.string().optional(),
  }),
)

/** `events/maintenance/scheduled`: an array, empty when nothing is planned. Dates are `21 Jan 2019 09:00:43 GMT`. */
export function parseMaintenance(body: string): readonly MaintenanceEvent[] {
  const parsed = maintenanceSchema.safeParse(parseJson(body))
  if (!parsed.success) return []
  return parsed.data.map((event) => ({
    eventId: event.EventId,
    code: event.Code,
    state: event.State,
    description: event.Description.slice(0, 500),
    notBefore: parseMaintenanceDate(event.NotBefore),
  }))
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

function parseMaintenanceDate(text: string | undefined): Instant | null {
  const match = /^(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/.exec(text ?? '')
  if (!match) return null
  const [, day, month, year, hour, minute, second] = match
  const index = MONTHS.indexOf(month ?? '')
  if (index < 0) return null
  return instant(Date.UTC(Number(year), index, Number(day), Number(hour), Number(minute), Number(second)))
}

/** `autoscaling/target-lifecycle-state`; the documented values, anything else is nothing. */
export function parseTargetLifecycle(body: string): string | undefined {
  const text = body.trim()
  return /^(Detached|InService|Standby|Terminated|Warmed:(Hibernated|Running|Stopped|Terminated))$/.test(text)
    ? text
    : undefined
}

/** What the instance identity document tells. The signature covers its exact text, so that is kept beside it. */
export interface InstanceIdentity {
  readonly instanceId: string
  readonly instanceType: string
  readonly availabilityZone: string
  readonly privateIp: string | undefined
}

const identitySchema = z.object({
  instanceId: z.string(),
  instanceType: z.string(),
  availabilityZone: z.string(),
  privateIp: z.string().optional(),
})

export function parseIdentity(document: string): InstanceIdentity | undefined {
  const parsed = identitySchema.safeParse(parseJson(document))
  if (!parsed.success) return undefined
  const { instanceId, instanceType, availabilityZone, privateIp } = parsed.data
  return { instanceId, instanceType, availabilityZone, privateIp }
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
