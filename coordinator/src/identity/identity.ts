/** The front door of who is who: the certificate authority, what agents ask of it, and the coordinator as a voter. */
export { openAuthority } from './authority.ts'
export { createCertificateRequests } from './certificate-requests.ts'
export { openVoting, raiseStart, type Voting } from './voting.ts'
