declare const kind: unique symbol
type Id<K extends string> = string & { readonly [kind]: K }

/** A protected workload. It survives failovers; the instance that serves it changes. */
export type AgentId = Id<'agent'>
/** One EC2 (or simulated) machine, such as `i-0abc…`. */
export type InstanceId = Id<'instance'>
/** One standby of an agent. */
export type ReplicaId = Id<'replica'>
/** All that belongs to one notice or one loss. */
export type IncidentId = Id<'incident'>

export const agentId = (value: string): AgentId => value as AgentId
export const instanceId = (value: string): InstanceId => value as InstanceId
export const replicaId = (value: string): ReplicaId => value as ReplicaId
export const incidentId = (value: string): IncidentId => value as IncidentId

/** What is accepted from outside. */
export const AGENT_ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/
export const INSTANCE_ID_PATTERN = /^i-[0-9a-z]{3,32}$/
