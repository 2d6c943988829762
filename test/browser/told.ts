import type { LiveFrame } from '@understudy/shared/protocol/live'
import type { Page, Route, WebSocketRoute } from 'playwright-core'

type Unnumbered = Omit<Extract<LiveFrame, { type: 'patch' }>, 'seq'>

/** What the page is told in place of what the coordinator would say, frame by frame. */
export interface Told {
  /** How often it has connected. */
  readonly connections: number
  send(frame: LiveFrame): void
  /** The frame that comes after the last one. */
  sendNext(frame: Unnumbered): void
  /** Ends the connection; the next one begins anew. */
  drop(): void
  /** Ends the connection; those that come after are not answered. */
  cut(): void
}

/**
 * To be called before the page is opened. `first` is what each connection begins with, `now` the time that the coordinator
 * says it is.
 */
export async function tell(page: Page, first: () => LiveFrame, now = Date.now): Promise<Told> {
  let connections = 0
  let silent = false
  let socket: WebSocketRoute | undefined
  let seq = 0
  const send = (frame: LiveFrame) => {
    seq = frame.seq
    socket?.send(JSON.stringify(frame))
  }
  await page.routeWebSocket('**/api/live', (own) => {
    connections += 1
    socket = own
    if (!silent) send(first())
  })
  // As often as the coordinator says that nothing has changed.
  const still = setInterval(() => {
    if (!silent && socket) send({ type: 'still', seq: seq + 1, at: now() })
  }, 2000)
  page.once('close', () => clearInterval(still))
  return {
    get connections() {
      return connections
    },
    send,
    sendNext: (frame) => send({ ...frame, seq: seq + 1 }),
    drop: () => void socket?.close(),
    cut() {
      silent = true
      void socket?.close()
    },
  }
}

/** An answer as the coordinator gives it when it says no. */
export const problem =
  (status: number, code: string, detail: string, facts = {}) =>
  (route: Route) =>
    route.fulfill({
      status,
      contentType: 'application/problem+json',
      body: JSON.stringify({ title: 'Not now', detail, code, status, errors: [], facts }),
    })
