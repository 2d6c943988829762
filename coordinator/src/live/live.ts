/** The front door of everything that is connected by WebSocket: agents' links and dashboards. */
export { createLinks, type Links } from './links.ts'
export { liveRoutes } from './live.routes.ts'
export { createTopics, type Topics } from './topics.ts'
