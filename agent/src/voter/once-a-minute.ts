import { type Mono, minutes } from '@understudy/shared/core/time'

const EVERY = minutes(1)
/** So many kinds are told apart; what a stranger sends must not fill the memory. */
const KINDS = 200

/** Whether something is worth a line: the first of its kind in a minute. */
export function createOnceAMinute(): (kind: string, now: Mono) => boolean {
  const said = new Map<string, Mono>()
  return (kind, now) => {
    const last = said.get(kind)
    if (last !== undefined && now - last < EVERY) return false
    if (said.size >= KINDS) said.clear()
    said.set(kind, now)
    return true
  }
}
