import type { Json } from '@understudy/shared/core/json-change'
import type { Problem } from '@understudy/shared/protocol/problem'
import type {
  ReadingFrame,
  ReadingName,
  ReadingsRequest,
  WatchRequest,
} from '@understudy/shared/protocol/readings'
import type { Page, WebSocketRoute } from 'playwright-core'

/** What a page is told of a reading. */
type Said = { readonly value: Json } | { readonly problem: Problem }

/** The socket of the readings, in between. */
export interface ToldReadings {
  /** What is told by name in place of what the coordinator would say. To be changed at any time. */
  readonly said: Map<ReadingName, Said | ((asked: WatchRequest) => Said)>
  /** Everything is told so, whatever its name is. */
  all: Said | undefined
  /** How often the page has connected, and how often it was let through. */
  readonly connections: number
  readonly accepted: number
  /** Ends the connection; those that come after are refused until `mend`. */
  cut(): void
  mend(): void
}

/** To be called before the page is opened. */
export async function tellReadings(page: Page): Promise<ToldReadings> {
  const open = new Set<WebSocketRoute>()
  let isCut = false
  let connections = 0
  let accepted = 0
  const told: ToldReadings = {
    said: new Map(),
    all: undefined,
    get connections() {
      return connections
    },
    get accepted() {
      return accepted
    },
    cut() {
      isCut = true
      for (const own of open) void own.close()
    },
    mend() {
      isCut = false
    },
  }
  await page.routeWebSocket('**/api/live/readings', (own) => {
    connections += 1
    if (isCut) return void own.close()
    accepted += 1
    open.add(own)
    const server = own.connectToServer()
    const frames = new Map<number, { readonly name: ReadingName; readonly watch: string; seq: number }>()
    const tell = (id: number, said: Said, read: { readonly read?: number }) => {
      const one = frames.get(id)
      if (!one) return
      const numbered = { id, seq: one.seq, ...read }
      one.seq += 1
      own.send(JSON.stringify(frameOf(numbered, said)))
    }
    own.onMessage((text) => {
      const request = JSON.parse(String(text)) as ReadingsRequest
      const known = frames.get(request.id)
      const asked = askedBy(request, known?.watch)
      const name = asked?.name as ReadingName | undefined
      const said = asked && saidOf(asked, told)
      if (!name || !said || request.type === 'leave') {
        frames.delete(request.id)
        // The coordinator does not know yet what it is to speak for now.
        server.send(known && request.type === 'read' ? known.watch : text)
        return
      }
      if (request.type === 'watch') frames.set(request.id, { name, watch: String(text), seq: 0 })
      tell(request.id, said, request.type === 'read' ? { read: request.read } : {})
    })
    own.onClose((code, reason) => {
      open.delete(own)
      void server.close({ ...(code === undefined ? {} : { code }), ...(reason ? { reason } : {}) })
    })
  })
  return told
}

/** What a request is about: itself, or what was watched before. */
const askedBy = (request: ReadingsRequest, watched: string | undefined): WatchRequest | undefined =>
  request.type === 'watch' ? request : watched === undefined ? undefined : JSON.parse(watched)

function saidOf(asked: WatchRequest, { said, all }: ToldReadings): Said | undefined {
  const given = said.get(asked.name as ReadingName) ?? all
  return typeof given === 'function' ? given(asked) : given
}

function frameOf(numbered: { readonly id: number; readonly seq: number }, said: Said): ReadingFrame {
  if ('problem' in said) return { type: 'failed', ...numbered, problem: said.problem }
  if (numbered.seq === 0) return { type: 'snapshot', ...numbered, path: '', value: said.value }
  return { type: 'patch', ...numbered, change: { set: said.value } }
}

export const problemOf = (status: number, code: string, detail: string): { readonly problem: Problem } => ({
  problem: { type: 'about:blank', title: 'Not now', status, detail, code, errors: [] },
})
