import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import { between, type Clock, type Mono, millis, plus } from '@understudy/shared/core/time'
import type { Group } from '@understudy/shared/failover/group'
import { waitsForTurn } from '@understudy/shared/failover/notice-waits'
import type { Order } from '@understudy/shared/failover/orders'
import type { Flight } from './flight.ts'
import type { MoveTurns } from './move-turns.ts'

type HandOver = Order & { kind: 'hand-over' }

/** Tells a primary to hand over. After a notice with time to spare that waits its turn: until then the workload serves. */
export function createHandOverOrders(parts: {
  readonly agent: AgentId
  readonly turns: Pick<MoveTurns, 'take' | 'leave'>
  readonly clock: Clock
  readonly group: () => Group
  readonly flight: () => Flight | undefined
  readonly timed: (of: Flight | undefined, step: string, began: Mono, ok: boolean, detail: string) => void
  readonly send: (instance: InstanceId, order: Order) => void
}): (instance: InstanceId, order: HandOver) => void {
  const { agent, turns, clock, timed, send } = parts

  /** It may have become another move meanwhile, or none. */
  function isStillSo(order: HandOver): boolean {
    const { phase, epoch } = parts.group()
    return phase.kind === 'handing-over' && phase.incident.id === order.incident && epoch === order.epoch
  }

  return (instance, order) => {
    const incident = parts.flight()?.incident
    const by = incident?.trigger === 'notice' ? incident.by : undefined
    if (by === undefined) return send(instance, order)
    const now = clock.mono()
    turns.take({
      ...{ agent, by, latest: plus(now, waitsForTurn(between(now, by))) },
      go(waited) {
        if (!isStillSo(order)) return turns.leave(agent)
        if (waited > 0) {
          const began = plus(clock.mono(), millis(-waited))
          timed(
            parts.flight(),
            'turn-awaited',
            began,
            true,
            'other moves went first, and the workload served',
          )
        }
        send(instance, { ...order, budget: millis(Math.max(order.budget - waited, 0)) })
      },
    })
  }
}
