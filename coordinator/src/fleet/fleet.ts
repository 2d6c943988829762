/** The front door of the fleet: agents and instances, how they come in, and the record of what happened to them. */
export { type AgentFacts, type ReplicaLive, toAgentView, toReplicaView } from './agent-view.ts'
export { type Credentials, createCredentials } from './credentials.ts'
export { type EnrolmentPorts, enrol } from './enrolment.ts'
export { createFleetStore, defaultSettings, type FleetStore, settingsOf } from './fleet-store.ts'
export { headline, toText, toZip } from './flight-recorder.ts'
export { createIdentityVerifier, type IdentityVerifier, loadRegionKeys } from './identity-document.ts'
export { createIncidents, type Incidents } from './incidents.ts'
