import type { AgentId } from '@understudy/shared/core/ids'
import { between, type Clock, type Millis, type Mono, millis, seconds } from '@understudy/shared/core/time'

/** A move that takes longer than this holds up nobody else. */
const HOLDS = seconds(5)

/** A move that has time, because its instance goes on until `by`. */
export interface Turn {
  readonly agent: AgentId
  /** When its instance ends: who ends first goes first. */
  readonly by: Mono
  /** It waits no longer than until then. */
  readonly latest: Mono
  /** Called once, unless `leave` was called before. */
  readonly go: (waited: Millis) => void
}

/**
 * Lets a few moves begin at a time, so that each is as quick as one alone: when a whole pool is taken back the notices come within
 * a second, and there are two minutes. Nothing is held back that has no such time.
 */
export interface MoveTurns {
  /** At once when there is room. An agent that waits already takes its new place. */
  take(turn: Turn): void
  /** Its move has ended, or there is none to begin any more. */
  leave(agent: AgentId): void
  /** Moves that wait. */
  readonly waiting: number
}

export function createMoveTurns({
  atOnce,
  clock,
}: {
  readonly atOnce: number
  readonly clock: Clock
}): MoveTurns {
  const queue = new Map<AgentId, Turn & { readonly since: Mono; readonly late: () => void }>()
  const underWay = new Map<AgentId, () => void>()

  /** `since`: from when it has waited; undefined for one that had not to. */
  function begin(turn: Turn, since?: Mono): void {
    underWay.get(turn.agent)?.()
    underWay.set(
      turn.agent,
      clock.timer(HOLDS, () => ended(turn.agent)),
    )
    turn.go(since === undefined ? millis(0) : between(since, clock.mono()))
  }

  function ended(agent: AgentId): void {
    underWay.get(agent)?.()
    if (underWay.delete(agent)) next()
  }

  function next(): void {
    while (underWay.size < atOnce && queue.size > 0) {
      const [first] = [...queue.values()].sort((a, b) => a.by - b.by)
      if (!first) return
      forget(first.agent)
      begin(first, first.since)
    }
  }

  function forget(agent: AgentId): void {
    queue.get(agent)?.late()
    queue.delete(agent)
  }

  return {
    take(turn) {
      const waiting = queue.get(turn.agent)?.since
      forget(turn.agent)
      const now = clock.mono()
      const left = between(now, turn.latest)
      if (underWay.has(turn.agent) || underWay.size < atOnce || left <= 0) return begin(turn, waiting)
      const since = waiting ?? now
      const late = clock.timer(millis(left), () => {
        forget(turn.agent)
        begin(turn, since)
      })
      queue.set(turn.agent, { ...turn, since, late })
    },
    leave(agent) {
      forget(agent)
      ended(agent)
    },
    get waiting() {
      return queue.size
    },
  }
}
