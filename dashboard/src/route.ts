/** What the address says after `#`. Everything that somebody may want to send to somebody else is in it. */
export type Route =
  | { readonly page: 'fleet'; readonly agent?: string; readonly search?: string }
  | { readonly page: 'agent'; readonly id: string; readonly range?: string; readonly pool?: string }
  | { readonly page: 'incidents'; readonly agent?: string }
  | { readonly page: 'incident'; readonly id: string; readonly step?: number; readonly compare?: string }
  | { readonly page: 'switches'; readonly agent?: string; readonly reason?: string }
  | {
      readonly page: 'pools'
      readonly search?: string
      readonly pool?: string
      readonly range?: string
    }
  | { readonly page: 'models' }
  | { readonly page: 'model'; readonly id: string; readonly window?: string }
  | { readonly page: 'gap-filler' }
  | { readonly page: 'lab'; readonly target?: string; readonly experiment?: string }
  | {
      readonly page: 'decisions'
      readonly agent?: string
      readonly decision?: string
      readonly open?: string
    }
  | { readonly page: 'engines'; readonly engine?: string }
  | {
      readonly page: 'settings'
      /** What of the changes is shown. */
      readonly actor?: string
      readonly action?: string
      readonly object?: string
    }
  | { readonly page: 'nowhere' }

type Page = Exclude<Route['page'], 'nowhere'>

interface Place {
  readonly page: Page
  readonly section: string
  /** Whether the section is followed by an id. */
  readonly id: boolean
  readonly query: readonly string[]
}

const places: readonly Place[] = [
  { page: 'fleet', section: '', id: false, query: ['agent', 'search'] },
  { page: 'agent', section: 'agents', id: true, query: ['range', 'pool'] },
  { page: 'incidents', section: 'incidents', id: false, query: ['agent'] },
  { page: 'incident', section: 'incidents', id: true, query: ['step', 'compare'] },
  { page: 'switches', section: 'switches', id: false, query: ['agent', 'reason'] },
  { page: 'pools', section: 'pools', id: false, query: ['search', 'pool', 'range'] },
  { page: 'models', section: 'models', id: false, query: [] },
  { page: 'model', section: 'models', id: true, query: ['window'] },
  { page: 'gap-filler', section: 'gap-filler', id: false, query: [] },
  { page: 'lab', section: 'lab', id: false, query: ['target', 'experiment'] },
  { page: 'decisions', section: 'decisions', id: false, query: ['agent', 'decision', 'open'] },
  { page: 'engines', section: 'engines', id: false, query: ['engine'] },
  { page: 'settings', section: 'settings', id: false, query: ['actor', 'action', 'object'] },
]

export function parseRoute(hash: string): Route {
  const [path = '', search = ''] = hash.replace(/^#/, '').split('?', 2)
  const [section = '', id = '', ...more] = path.replace(/^\//, '').split('/').map(decode)
  const place = places.find((each) => each.section === section && each.id === (id !== ''))
  if (!place || more.length > 0) return { page: 'nowhere' }
  const query = new URLSearchParams(search)
  const said = place.query.flatMap((name): [string, string | number][] => {
    const value = query.get(name)
    if (value === null || value === '') return []
    if (name !== 'step') return [[name, value]]
    return Number.isSafeInteger(Number(value)) ? [[name, Number(value)]] : []
  })
  return { page: place.page, ...(place.id ? { id } : {}), ...Object.fromEntries(said) } as Route
}

export function hrefOf(route: Route): string {
  const place = places.find(({ page }) => page === route.page)
  if (!place) return '#/'
  const values: Readonly<Record<string, unknown>> = { ...route }
  const query = new URLSearchParams()
  for (const name of place.query) {
    const value = values[name]
    if (value !== undefined && value !== '') query.set(name, String(value))
  }
  const path = place.id ? `${place.section}/${encodeURIComponent(String(values.id))}` : place.section
  return query.size === 0 ? `#/${path}` : `#/${path}?${query}`
}

/** A hash that somebody has typed may hold a broken escape. */
function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
