/** The front door of everything that is connected by WebSocket: agents' links and voters, and dashboards. */
export { createLinks, type Links } from './links.ts'
export { liveRoutes } from './live.routes.ts'
export { createStream, listenTo, type Stream } from './streams.ts'
export { createTopics, type LiveSocket, type Topics } from './topics.ts'
export { createVoterSockets, type VoterSockets } from './voter-sockets.ts'
export { SIGNED_OUT, whileAllowed } from './while-allowed.ts'
