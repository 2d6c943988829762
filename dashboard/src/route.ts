/** What the address says after `#`. Everything that somebody may want to send to somebody else is in it. */
export type Route =
  | { readonly page: 'fleet'; readonly agent?: string }
  | { readonly page: 'incidents'; readonly agent?: string }
  | { readonly page: 'incident'; readonly id: string; readonly step?: number }
  | { readonly page: 'nowhere' }

export function parseRoute(hash: string): Route {
  const [path = '', search = ''] = hash.replace(/^#/, '').split('?', 2)
  const [section = '', id = ''] = path.replace(/^\//, '').split('/').map(decode)
  const query = new URLSearchParams(search)
  if (section === '') return { page: 'fleet' }
  if (section === 'agents' && id !== '') return { page: 'fleet', agent: id }
  if (section !== 'incidents') return { page: 'nowhere' }
  if (id === '') {
    const agent = query.get('agent')
    return agent === null ? { page: 'incidents' } : { page: 'incidents', agent }
  }
  const step = Number(query.get('step') ?? Number.NaN)
  return Number.isSafeInteger(step) ? { page: 'incident', id, step } : { page: 'incident', id }
}

export function hrefOf(route: Route): string {
  switch (route.page) {
    case 'fleet':
      return route.agent === undefined ? '#/' : `#/agents/${encodeURIComponent(route.agent)}`
    case 'incidents':
      return route.agent === undefined
        ? '#/incidents'
        : `#/incidents?${new URLSearchParams({ agent: route.agent })}`
    case 'incident':
      return `#/incidents/${encodeURIComponent(route.id)}${route.step === undefined ? '' : `?step=${route.step}`}`
    case 'nowhere':
      return '#/'
  }
}

/** A hash that somebody has typed may hold a broken escape. */
function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
