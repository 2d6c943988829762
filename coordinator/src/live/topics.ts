import { isAppError } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, millis } from '@understudy/shared/core/time'
import type { AgentView } from '@understudy/shared/protocol/agents'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { DemoView, LiveContent, LiveFrame } from '@understudy/shared/protocol/live'
import type { Logger } from 'pino'

/** Changes are gathered this long: five frames a second are as many as a person can read. */
const FLUSH = millis(200)
/** A page that hears nothing for this long is told that nothing has changed. */
const STILL_AFTER = 2000
const LATEST_INCIDENTS = 20
/** A page that does not read is cut off before it takes the memory of everybody else. */
const MAX_BUFFERED = 4 * 1024 * 1024

export interface LiveSocket {
  send(text: string): void
  close(code?: number, reason?: string): void
  readonly bufferedAmount: number
}

/**
 * What dashboards show, kept up to date: one snapshot for a new page, then what has changed since the last frame. The
 * latest value of a key wins, so a slow page never falls behind by more than one picture.
 */
export interface Topics extends Service {
  /** The picture of this agent may have changed. */
  touchAgent(agentId: string): void
  showIncident(incident: IncidentView): void
  showDemo(demo: DemoView): void
  /** Returns what to call when the page has gone. */
  subscribe(socket: LiveSocket): () => void
  readonly subscribers: number
}

export function createTopics(parts: {
  readonly clock: Clock
  readonly log: Logger
  readonly version: string
  readonly mode: 'demo' | 'serve'
  readonly agentView: (agentId: string) => Promise<AgentView>
}): Topics {
  const { clock, log, version, mode, agentView } = parts
  const content: LiveContent = { agents: {}, incidents: {} }
  const touched = new Set<string>()
  /** Of which it was said already. */
  const failing = new Set<string>()
  const pages = new Set<LiveSocket>()
  let patch: Partial<LiveContent> = {}
  let seq = 0
  let sentAt = 0

  const broadcast = (frame: LiveFrame) => {
    const text = JSON.stringify(frame)
    for (const page of pages) {
      if (page.bufferedAmount > MAX_BUFFERED) {
        pages.delete(page)
        page.close(1013, 'too slow')
      } else page.send(text)
    }
    sentAt = clock.mono()
  }

  const inOrder = createSerial()
  const refreshAgents = () =>
    inOrder(async () => {
      const ids = [...touched]
      touched.clear()
      for (const id of ids)
        await refreshAgent(id).then(
          () => failing.delete(id),
          (error: unknown) => keepFor(id, error),
        )
    })

  async function refreshAgent(id: string): Promise<void> {
    const view = await agentView(id)
    if (JSON.stringify(view) === JSON.stringify(content.agents[id])) return
    content.agents[id] = view
    patch = { ...patch, agents: { ...patch.agents, [id]: view } }
  }

  /** Tried again with the next frame, and said once; one that is not there is not. */
  function keepFor(id: string, error: unknown): void {
    if (!isAppError(error, 'not_found')) touched.add(id)
    if (!failing.has(id)) log.warn({ event: 'live.not_refreshed', agent: id, err: error })
    failing.add(id)
  }

  async function flush(): Promise<void> {
    // What nobody looks at is not made: it waits for the next page.
    if (pages.size > 0) await refreshAgents()
    const changed = Object.keys(patch).length > 0
    if (!changed && clock.mono() - sentAt < STILL_AFTER) return
    seq += 1
    const at = clock.now()
    broadcast(changed ? { type: 'patch', seq, at, content: patch } : { type: 'still', seq, at })
    patch = {}
  }

  return {
    name: 'live',
    get subscribers() {
      return pages.size
    },
    touchAgent: (agentId) => void touched.add(agentId),
    showIncident(incident) {
      content.incidents[incident.id] = incident
      patch = { ...patch, incidents: { ...patch.incidents, [incident.id]: incident } }
      const latest = Object.values(content.incidents)
        .filter((known) => known !== null)
        .sort((a, b) => (a.detected_at < b.detected_at ? 1 : -1))
      for (const old of latest.slice(LATEST_INCIDENTS)) {
        delete content.incidents[old.id]
        patch = { ...patch, incidents: { ...patch.incidents, [old.id]: null } }
      }
    },
    showDemo(demo) {
      content.demo = demo
      patch = { ...patch, demo }
    },
    subscribe(socket) {
      let left = false
      void refreshAgents().then(() => {
        if (left) return
        const frame: LiveFrame = { type: 'snapshot', seq, at: clock.now(), version, mode, content }
        socket.send(JSON.stringify(frame))
        pages.add(socket)
      })
      return () => {
        left = true
        pages.delete(socket)
      }
    },
    run: (signal) => everyPeriod(clock, FLUSH, signal, flush),
  }
}
