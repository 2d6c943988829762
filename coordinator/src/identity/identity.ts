/** The front door of who is who between agents: the certificate authority, and what agents ask of it. */
export { openAuthority } from './authority.ts'
export { createCertificateRequests } from './certificate-requests.ts'
