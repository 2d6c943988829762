import { type Clock, seconds } from '@understudy/shared/core/time'
import { assertRole, type Principal, type Role } from '../http/http.ts'

/** How often is looked whether whoever is connected may still be. */
const LOOK_WHO = seconds(5)

/** With this code a socket is closed whose login has ended, or whose role does not suffice any more: sign in again. */
export const SIGNED_OUT = 4401

/**
 * A socket lives longer than the request that opened it, so that its caller is asked for again and again. Returns what to
 * call when the socket has closed.
 */
export function whileAllowed(parts: {
  readonly clock: Clock
  readonly role: Role
  /** Rejects where nobody can say. */
  readonly whoNow: () => Promise<Principal | undefined>
  readonly onStill?: (principal: Principal) => void
  readonly onEnd: () => void
}): () => void {
  const { clock, role, whoNow, onStill, onEnd } = parts
  const lookLater = () => clock.timer(LOOK_WHO, () => void look())
  let closed = false
  let cancel = lookLater()

  async function look(): Promise<void> {
    // Where nobody can say, who was let in stays until somebody can.
    const who = await whoNow().catch(() => 'unknown' as const)
    if (closed) return
    if (who !== 'unknown') {
      if (!hasRole(who, role)) return onEnd()
      onStill?.(who)
    }
    cancel = lookLater()
  }

  return () => {
    closed = true
    cancel()
  }
}

function hasRole(principal: Principal | undefined, role: Role): principal is Principal {
  try {
    assertRole(principal, role)
    return true
  } catch {
    return false
  }
}
