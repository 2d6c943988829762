import type { ModelState } from '@understudy/shared/protocol/models'

/**
 * RECEIVED → SCANNED → QUALIFIED → SHADOW, LAB or ACTIVE → RETIRED, from where it may be used again; and QUARANTINED from
 * anywhere, which only another upload of the same bytes ends.
 */
const next: Readonly<Record<ModelState, readonly ModelState[]>> = {
  RECEIVED: ['SCANNED'],
  SCANNED: ['QUALIFIED'],
  QUALIFIED: ['SHADOW', 'LAB', 'ACTIVE', 'RETIRED'],
  SHADOW: ['LAB', 'ACTIVE', 'RETIRED'],
  LAB: ['SHADOW', 'ACTIVE', 'RETIRED'],
  ACTIVE: ['SHADOW', 'LAB', 'RETIRED'],
  RETIRED: ['SHADOW', 'LAB', 'ACTIVE'],
  QUARANTINED: ['RECEIVED'],
}

export const mayBecome = (from: ModelState, to: ModelState): boolean =>
  from === to || to === 'QUARANTINED' || next[from].includes(to)

/** Whether it has passed qualification and nothing was found against it since. */
export const isUsable = (state: ModelState): boolean =>
  state !== 'QUARANTINED' && state !== 'RECEIVED' && state !== 'SCANNED'

/** By what points to it. */
export function stateFor(aliases: readonly string[]): ModelState {
  if (aliases.includes('active')) return 'ACTIVE'
  if (aliases.some((alias) => alias.startsWith('lab:'))) return 'LAB'
  if (aliases.some((alias) => alias.startsWith('shadow:'))) return 'SHADOW'
  return 'RETIRED'
}
