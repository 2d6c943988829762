import type { Route } from '../../route.ts'

/** What a key, or two of them, asks for. */
export type Command =
  | { readonly kind: 'help' }
  | { readonly kind: 'filter' }
  | { readonly kind: 'row'; readonly step: 1 | -1 }
  | { readonly kind: 'go'; readonly to: Route }

/** After `g` the letter of a page is waited for. */
export interface Waiting {
  readonly since: number
}

export interface Press {
  readonly key: string
  /** Ctrl, Alt or the key of the system is held. */
  readonly modified: boolean
  /** It is typed into something that takes letters, or a dialog is open. */
  readonly taken: boolean
  /** Milliseconds, by any clock. */
  readonly at: number
}

const PATIENCE = 1500

export const pageKeys = [
  { key: 'f', name: 'Fleet', to: { page: 'fleet' } },
  { key: 'i', name: 'Incidents', to: { page: 'incidents' } },
  { key: 'w', name: 'Switches', to: { page: 'switches' } },
  { key: 'p', name: 'Pools', to: { page: 'pools' } },
  { key: 'm', name: 'Models', to: { page: 'models' } },
  { key: 'g', name: 'Gap filler', to: { page: 'gap-filler' } },
  { key: 'l', name: 'Lab', to: { page: 'lab' } },
  { key: 'd', name: 'Decisions', to: { page: 'decisions' } },
  { key: 's', name: 'Settings', to: { page: 'settings' } },
] as const satisfies readonly { readonly key: string; readonly name: string; readonly to: Route }[]

const single: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['?', { kind: 'help' }],
  ['/', { kind: 'filter' }],
  ['j', { kind: 'row', step: 1 }],
  ['k', { kind: 'row', step: -1 }],
])

/** What a key means, and whether another one is waited for. Pure. */
export function readPress(
  waiting: Waiting | undefined,
  { key, modified, taken, at }: Press,
): { readonly waiting: Waiting | undefined; readonly command: Command | undefined } {
  if (modified || taken) return { waiting: undefined, command: undefined }
  // Shift alone is no letter: it may be held for what comes next.
  if (key === 'Shift') return { waiting, command: undefined }
  if (waiting && at - waiting.since <= PATIENCE) {
    const page = pageKeys.find((each) => each.key === key)
    return { waiting: undefined, command: page && { kind: 'go', to: page.to } }
  }
  if (key === 'g') return { waiting: { since: at }, command: undefined }
  return { waiting: undefined, command: single.get(key) }
}

/** The row that comes next; the first or the last one where none has the focus. Undefined without rows. */
export function nextRow(focused: number, step: 1 | -1, count: number): number | undefined {
  if (count === 0) return undefined
  if (focused < 0) return step === 1 ? 0 : count - 1
  return Math.min(count - 1, Math.max(0, focused + step))
}
