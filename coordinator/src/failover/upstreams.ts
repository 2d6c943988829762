import { randomBytes } from 'node:crypto'
import type { InstanceId } from '@understudy/shared/core/ids'

/**
 * Secrets that pair a primary with each of its replicas for one term. They live in memory only: after a restart both
 * ends get new ones.
 */
export interface PairTokens {
  /** The token of `replica` in `term`; made when it is first asked for. */
  of(term: number, replica: InstanceId): string
  /** Everybody who was given one in `term`. */
  all(term: number): readonly { instanceId: InstanceId; token: string }[]
  revoke(replica: InstanceId): void
}

export function createPairTokens(): PairTokens {
  let current = -1
  const tokens = new Map<InstanceId, string>()
  const enter = (term: number) => {
    if (term <= current) return
    current = term
    tokens.clear()
  }
  return {
    of(term, replica) {
      enter(term)
      const known = tokens.get(replica)
      if (known) return known
      const token = randomBytes(32).toString('base64url')
      tokens.set(replica, token)
      return token
    },
    all(term) {
      enter(term)
      return [...tokens].map(([instanceId, token]) => ({ instanceId, token }))
    },
    revoke: (replica) => void tokens.delete(replica),
  }
}
