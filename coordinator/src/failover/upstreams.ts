import { randomBytes } from 'node:crypto'
import type { InstanceId } from '@understudy/shared/core/ids'

/**
 * Secrets that pair a primary with each of its replicas for one epoch. They live in memory only: after a restart both
 * ends get new ones.
 */
export interface PairTokens {
  /** The token of `replica` at `epoch`; made when it is first asked for. */
  of(epoch: number, replica: InstanceId): string
  /** Everybody who was given one at `epoch`. */
  all(epoch: number): readonly { instanceId: InstanceId; token: string }[]
  revoke(replica: InstanceId): void
}

export function createPairTokens(): PairTokens {
  let current = -1
  const tokens = new Map<InstanceId, string>()
  const enter = (epoch: number) => {
    if (epoch <= current) return
    current = epoch
    tokens.clear()
  }
  return {
    of(epoch, replica) {
      enter(epoch)
      const known = tokens.get(replica)
      if (known) return known
      const token = randomBytes(32).toString('base64url')
      tokens.set(replica, token)
      return token
    },
    all(epoch) {
      enter(epoch)
      return [...tokens].map(([instanceId, token]) => ({ instanceId, token }))
    },
    revoke: (replica) => void tokens.delete(replica),
  }
}
