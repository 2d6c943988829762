import { z } from 'zod'
import {
  agentIdSchema,
  countSchema,
  epochSchema,
  incidentIdSchema,
  instanceIdSchema,
  instantSchema,
  millisSchema,
  monoSchema,
} from './primitives.ts'
import {
  castVoteSchema,
  certificateSchema,
  electionExtrasSchema,
  leftSchema,
  proposalSchema,
  voterKeySchema,
} from './voter-messages.ts'

/**
 * The agent's link: JSON text frames on one WebSocket, `/api/agents/{id}/link`.
 *
 * Heartbeats and leases are about now and are never repeated. Reports are facts: the agent keeps each one until it is
 * acknowledged by number, across reconnects. Orders say what ought to be: the coordinator repeats the ones that
 * matter whenever a member connects. Unknown fields are dropped. A report whose body is not understood is logged and
 * acknowledged, or it would come again at every connection; any other unknown message is refused with a reason.
 */

/** Nobody but the coordinator can read anything from it. */
const startProofSchema = z.string().max(128)
const roleSchema = z.enum(['idle', 'replica', 'promoting', 'primary', 'handing-over', 'released', 'fenced'])
const workloadSchema = z.enum([
  'stopped',
  'starting',
  'running',
  'freezing',
  'frozen',
  'thawing',
  'stopping',
  'killing',
])

/** Something that is wrong with an agent and does not stop it. */
export const degradationSchema = z.object({
  code: z.string().max(60),
  message: z.string().max(500),
  hint: z.string().max(500).optional(),
})
export type Degradation = z.infer<typeof degradationSchema>

/** How far one replica is, in the primary's words. */
const replicaLagSchema = z.object({
  instanceId: instanceIdSchema,
  /** It is connected and has a whole copy that it follows closely. */
  attached: z.boolean(),
  lagBytes: countSchema,
  lagBatches: countSchema,
  /** Age of the oldest change that the replica has not made durable. */
  lagMillis: millisSchema,
  /** Everything that was written more than this long ago is durable on the replica, by a look at every name. */
  safeMillis: millisSchema.nullable(),
})

/** How far this instance is with receiving, in its own words. */
const syncProgressSchema = z.object({
  bytesDone: countSchema,
  bytesTotal: countSchema,
  filesDone: countSchema,
  filesTotal: countSchema,
  /** Last batch that is on disk here. */
  seq: countSchema,
})

const hello = z.object({
  type: z.literal('hello'),
  protocol: z.int().positive(),
  agentVersion: z.string().max(60),
  instanceId: instanceIdSchema,
  /** New at every start of the daemon. */
  boot: z.uuid(),
  role: roleSchema,
  epoch: epochSchema,
  seq: countSchema,
  sentAt: monoSchema,
  /** Where replicas dial in, for state and for votes; null where nothing can be reached. */
  replication: z
    .object({
      host: z.string().max(255),
      port: z.int().min(1).max(65535),
      voterPort: z.int().min(1).max(65535),
    })
    .nullable(),
  voter: z.object({
    key: voterKeySchema,
    /** The last ones that it knows, the newest at the end. */
    chain: z.array(certificateSchema).max(16),
    voted: epochSchema,
    resigned: epochSchema,
    /** The highest number of a start that a coordinator has told it; its database counts them. */
    coordinatorStart: countSchema,
    /** What was told with it; '' for none. */
    coordinatorStartProof: startProofSchema,
  }),
})

/** How it is, a few times a second. Leases are had on the voter's own socket (voter-messages.ts). */
const heartbeat = z.object({
  type: z.literal('heartbeat'),
  seq: countSchema,
  sentAt: monoSchema,
  role: roleSchema,
  epoch: epochSchema,
  workload: workloadSchema,
  lease: z.object({ kind: z.enum(['none', 'solo', 'until']) }),
  replicas: z.array(replicaLagSchema).max(64),
  progress: syncProgressSchema.nullable(),
  /** Last measured time there and back; how far a moment that this instance reports may be off is half of it. */
  roundTripMillis: millisSchema.nullable(),
  degraded: z.array(degradationSchema).max(32),
})

/** One finished step of an incident on this instance. `began` is on the same clock as `sentAt` of its heartbeats. */
const stepReport = z.object({
  kind: z.literal('step'),
  incident: incidentIdSchema,
  step: z.string().max(60),
  began: monoSchema,
  tookMillis: millisSchema,
  /** The reporting machine's wall clock at the end of the step. */
  at: instantSchema,
  ok: z.boolean(),
  detail: z.string().max(2000),
  /** `snapshot-restored`: what was written before then is here, by the clock of the instance that made the snapshot. */
  stateThrough: instantSchema.optional(),
})

/** An interruption notice or a rebalance recommendation that this instance read from its own metadata service. */
const noticeReport = z.object({
  kind: z.literal('notice'),
  signal: z.enum(['termination-notice', 'rebalance-recommendation']),
  /** The same for every sighting of one notice. */
  noticeId: z.string().max(80),
  action: z.enum(['terminate', 'stop', 'hibernate']).nullable(),
  /** What AWS says: when the action happens, or when the recommendation was emitted. */
  time: instantSchema,
  /** How long before sending it was first seen. */
  ageMillis: millisSchema,
})

export const reportSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('promoted'), epoch: epochSchema, incident: incidentIdSchema.optional() }),
  z.object({
    kind: z.literal('promotion-failed'),
    epoch: epochSchema,
    incident: incidentIdSchema.optional(),
    why: z.string().max(2000),
    incomplete: z.boolean().optional(),
  }),
  z.object({
    kind: z.literal('released'),
    epoch: epochSchema,
    incident: incidentIdSchema,
    target: instanceIdSchema,
    /** Its vote for the target. */
    vote: z.object({ proposal: proposalSchema, vote: castVoteSchema }),
    seq: countSchema,
    left: leftSchema.optional(),
  }),
  z.object({
    kind: z.literal('hand-over-failed'),
    epoch: epochSchema,
    incident: incidentIdSchema,
    why: z.string().max(2000),
  }),
  z.object({ kind: z.literal('fenced'), epoch: epochSchema }),
  /** A certificate that was made without the coordinator, for its records. */
  z.object({
    kind: z.literal('certified'),
    certificate: certificateSchema,
    extras: electionExtrasSchema,
  }),
  z.object({
    kind: z.literal('sync'),
    epoch: epochSchema,
    sync: z.enum(['none', 'syncing', 'ready']),
    why: z.string().max(500).optional(),
  }),
  noticeReport,
  z.object({ kind: z.literal('notice-withdrawn'), noticeId: z.string().max(80) }),
  z.object({
    kind: z.literal('maintenance'),
    eventId: z.string().max(120),
    code: z.string().max(60),
    state: z.string().max(30),
    notBefore: instantSchema.nullable(),
    description: z.string().max(500),
  }),
  z.object({ kind: z.literal('target-lifecycle'), state: z.string().max(40) }),
  stepReport,
])
export type Report = z.infer<typeof reportSchema>

const report = z.object({ type: z.literal('report'), id: countSchema, body: reportSchema })

/** What is enough to acknowledge a report, whether or not its body is understood. */
export const reportEnvelopeSchema = report.pick({ type: true, id: true })

/**
 * Asks for a certificate for a key pair that the instance has just made. `signature`, by the private key over
 * `certificateRequestText`, proves that it has that key.
 */
const certificateRequest = z.object({
  type: z.literal('certificate-request'),
  /** SubjectPublicKeyInfo of a P-256 key: DER in base64. */
  publicKey: z.base64().min(100).max(200),
  /** ECDSA with SHA-256: DER in base64. */
  signature: z.base64().min(10).max(200),
})

export const agentMessageSchema = z.discriminatedUnion('type', [hello, heartbeat, report, certificateRequest])
export type AgentMessage = z.infer<typeof agentMessageSchema>
export type Hello = z.infer<typeof hello>
export type Heartbeat = z.infer<typeof heartbeat>
export type CertificateRequest = z.infer<typeof certificateRequest>

/** How a replica reaches its primary; `token` is for this pair and this term only. */
const upstreamSchema = z.object({
  instanceId: instanceIdSchema,
  host: z.string().max(255),
  port: z.int().min(1).max(65535),
  voterPort: z.int().min(1).max(65535),
  token: z.string().min(32).max(128),
})
export type Upstream = z.infer<typeof upstreamSchema>

export const orderSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('follow'),
    epoch: epochSchema,
    term: epochSchema,
    primary: instanceIdSchema,
  }),
  z.object({
    kind: z.literal('hand-over'),
    epoch: epochSchema,
    target: instanceIdSchema,
    incident: incidentIdSchema,
    budget: millisSchema,
    urgent: z.boolean(),
  }),
  z.object({ kind: z.literal('abort-hand-over'), epoch: epochSchema }),
  z.object({ kind: z.literal('fence'), epoch: epochSchema }),
])

const welcome = z.object({
  type: z.literal('welcome'),
  protocol: z.int().positive(),
  agentId: agentIdSchema,
  /** How many times this coordinator's database has been started; it never decreases, but in a restored one. */
  coordinatorStart: countSchema,
  /** By which it knows its own number again. Agents keep it, and cannot make one. */
  coordinatorStartProof: startProofSchema,
  /** Its public key: whose votes to believe. */
  key: voterKeySchema,
  policy: z.object({
    heartbeat: millisSchema,
    lease: millisSchema,
    drift: z.number().min(0).max(0.2),
    fenceBudget: millisSchema,
  }),
})

/** PEM. A certificate of ours has some 700 characters. */
const pemSchema = z.string().max(8192)

const certificate = z.object({
  type: z.literal('certificate'),
  certificate: pemSchema,
  /** Whose certificates to believe; several while one authority takes the place of another. */
  authority: z.array(pemSchema).min(1).max(4),
})

export const coordinatorMessageSchema = z.discriminatedUnion('type', [
  welcome,
  z.object({ type: z.literal('order'), order: orderSchema, upstream: upstreamSchema.optional() }),
  /** Who may receive this instance's state while it is primary of this term; complete, not a change. */
  z.object({
    type: z.literal('replicas'),
    term: epochSchema,
    replicas: z.array(z.object({ instanceId: instanceIdSchema, token: z.string().min(32).max(128) })).max(64),
  }),
  z.object({ type: z.literal('report-ack'), id: countSchema }),
  /** Make a snapshot of the state now, if there is a store, and tell of it as a step of this incident. */
  z.object({ type: z.literal('snapshot'), incident: incidentIdSchema }),
  /** A new credential; the old one ends when the new one is first used. */
  z.object({ type: z.literal('credential'), credential: z.string().max(200), expiresAt: instantSchema }),
  certificate,
  /** The link stays; the agent asks again later. */
  z.object({
    type: z.literal('certificate-refused'),
    code: z.string().max(60),
    message: z.string().max(500),
    hint: z.string().max(500).optional(),
  }),
  z.object({
    type: z.literal('refused'),
    code: z.string().max(60),
    message: z.string().max(500),
    hint: z.string().max(500).optional(),
  }),
])
export type CoordinatorMessage = z.infer<typeof coordinatorMessageSchema>
export type Welcome = z.infer<typeof welcome>
export type CertificateIssued = z.infer<typeof certificate>
export type CertificateRefusal = CoordinatorMessage & { type: 'certificate-refused' }
