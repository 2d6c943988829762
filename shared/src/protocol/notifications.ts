import { z } from 'zod'
import { incidentStepSchema, incidentViewSchema } from './incidents.ts'
import { timeSchema } from './primitives.ts'

/** What of an incident, or of an alert, somebody is told. */
export const notificationStages = ['receipt', 'trouble', 'outcome', 'failure', 'alert'] as const
export type NotificationStage = (typeof notificationStages)[number]

/** What a receiver can be told of: how an incident began, or an alert about a model. */
export const notificationKinds = [...incidentViewSchema.shape.trigger.options, 'alert'] as const
export type NotificationKind = (typeof notificationKinds)[number]

/** An alert about a model, as it is sent. */
export const notifiedAlertSchema = z
  .object({
    id: z.string(),
    model_id: z.string(),
    kind: z.string(),
    subject: z.string(),
    severity: z.enum(['warn', 'alert']),
    said: z.string(),
  })
  .meta({ id: 'NotifiedAlert' })
export type NotifiedAlert = z.infer<typeof notifiedAlertSchema>

/** The body of a signed webhook (Standard Webhooks 1.0: type, timestamp, data). */
export const notificationPayloadSchema = z
  .object({
    type: z.enum([
      'incident.receipt',
      'incident.trouble',
      'incident.outcome',
      'incident.failure',
      'alert',
      'test',
    ]),
    timestamp: timeSchema,
    data: z.object({
      /** What the template of the receiver made of it. */
      text: z.string(),
      /** Without its steps, which `link` shows. */
      incident: incidentViewSchema.omit({ steps: true }).optional(),
      /** Of `incident.trouble`: what did not go as planned. */
      step: incidentStepSchema.optional(),
      alert: notifiedAlertSchema.optional(),
      link: z.string().optional(),
    }),
  })
  .meta({ id: 'NotificationPayload' })
export type NotificationPayload = z.infer<typeof notificationPayloadSchema>

/** Whom this coordinator tells, and how that goes. Addresses are shown without their path, secrets not at all. */
export const notificationReceiverSchema = z
  .object({
    name: z.string(),
    kind: z.enum(['webhook', 'slack']),
    format: z.enum(['standard', 'slack']),
    /** Scheme, host and port. */
    origin: z.string(),
    /** How many secrets sign: two while one is being replaced. */
    secrets: z.int(),
    /** Whether the messages of one incident are one thread there. */
    threads: z.boolean(),
    stages: z.array(z.enum(notificationStages)),
    kinds: z.array(z.enum(notificationKinds)),
    /** Patterns of agent ids; empty means all. */
    agents: z.array(z.string()),
    waiting: z.int(),
    oldest_waiting_at: timeSchema.nullable(),
    last_sent_at: timeSchema.nullable(),
    last_failed_at: timeSchema.nullable(),
    last_error: z.string().nullable(),
  })
  .meta({ id: 'NotificationReceiver' })
export type NotificationReceiver = z.infer<typeof notificationReceiverSchema>

export const deliveryStatuses = ['waiting', 'sent', 'given-up'] as const

export const notificationDeliverySchema = z
  .object({
    /** `webhook-id`: the same for every receiver and at every attempt. */
    id: z.string(),
    receiver: z.string(),
    /** The incident, or the alert. */
    thread: z.string(),
    stage: z.enum(notificationStages),
    kind: z.enum(notificationKinds),
    agent_id: z.string().nullable(),
    text: z.string(),
    status: z.enum(deliveryStatuses),
    attempts: z.int(),
    created_at: timeSchema,
    /** Null once it is sent or given up. */
    next_attempt_at: timeSchema.nullable(),
    last_attempt_at: timeSchema.nullable(),
    /** The HTTP status of the last answer; null where none came. */
    last_status: z.int().nullable(),
    last_error: z.string().nullable(),
    sent_at: timeSchema.nullable(),
  })
  .meta({ id: 'NotificationDelivery' })
export type NotificationDelivery = z.infer<typeof notificationDeliverySchema>

export const notificationTestSchema = z
  .object({
    receiver: z.string(),
    ok: z.boolean(),
    status: z.int().nullable(),
    took_ms: z.number(),
    error: z.string().nullable(),
  })
  .meta({ id: 'NotificationTest' })
export type NotificationTest = z.infer<typeof notificationTestSchema>
