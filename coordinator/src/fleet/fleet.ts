/** The front door of the fleet: agents and instances, how they come in, and the record of what happened to them. */
export { toAgentView, toReplicaView } from './agent-view.ts'
export { createCredentialRenewal } from './credential-renewal.ts'
export { createCredentials } from './credentials.ts'
export { createFleetStore, defaultSettings, type FleetStore } from './fleet-store.ts'
export { headlineOf } from './flight-recorder.ts'
export { createIdentityVerifier, type IdentityVerifier, loadRegionKeys } from './identity-document.ts'
export { createIncidents, type Incidents } from './incidents.ts'
