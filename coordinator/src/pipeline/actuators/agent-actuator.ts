import { type AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { agentId, type ReplicaId, replicaId } from '@understudy/shared/core/ids'
import { type Clock, minutes, seconds, sleep } from '@understudy/shared/core/time'
import { isVoluntary, type Order } from '@understudy/shared/pipeline/preconditions'
import type { ReplicaView } from '@understudy/shared/protocol/agents'
import type { Failover } from '../../failover/failover.ts'
import type { ActionResult, Actuator, Turn } from './actuator.ts'

/** A replica that is not ready by then is given up. */
const READY_WITHIN = minutes(20)
/** A move that has begun ends within this, or failover has called it off. */
const MOVED_WITHIN = minutes(2)
const LOOK_EVERY = seconds(2)

/** What it needs of failover, and no more. */
export type Moves = Pick<Failover, 'replicas' | 'createReplica' | 'deleteReplica' | 'promote'>

/**
 * Moves an agent: a replica in the chosen pool, and when it is ready a planned switch, with no state lost. What is made for a
 * decision carries its id, so that after a restart it is found and not made again. Signals of AWS are left to failover, which
 * has answered them by the time a decision is made.
 */
export function createAgentActuator(moves: Moves, clock: Clock): Actuator {
  return {
    name: 'agent',
    describe: (order) =>
      isVoluntary(order)
        ? `make a replica of ${order.targetId} in ${order.targetPoolId}, wait until it is ready, and let it take over from ${order.instanceId}`
        : left(order),
    async carryOut(order, turn) {
      if (!isVoluntary(order)) return { status: 'done', reason: `it was ${left(order)}` }
      try {
        const move: Move = { order, turn, moves, clock }
        const replica = await replicaFor(move)
        return typeof replica === 'string' ? await moveTo(replica, move) : replica
      } catch (error) {
        if (turn.signal.aborted) throw error
        return { status: 'failed', reason: messageOf(error) }
      }
    },
  }
}

const left = ({ targetId }: Order): string => `left to failover, which answers signals for ${targetId} itself`

const markOf = ({ decisionId }: Order): string => `decision ${decisionId}`

interface Move {
  readonly order: Order
  readonly turn: Turn
  readonly moves: Moves
  readonly clock: Clock
}

/**
 * The one that was made for this decision before, one that is in that pool already, or a new one: that only if all still holds,
 * because an action that an earlier coordinator has begun may be old.
 */
async function replicaFor({ order, turn, moves }: Move): Promise<ReplicaId | ActionResult> {
  const all = await moves.replicas(agentId(order.targetId))
  const found =
    all.find(({ created_by: by }) => by === markOf(order)) ??
    all.find((one) => one.is_active && one.pool_id === order.targetPoolId && !one.notice)
  if (found) return replicaId(found.id)
  const { objection } = await turn.look()
  if (objection !== undefined) return { status: 'refused', reason: objection }
  const created = await moves.createReplica(
    agentId(order.targetId),
    { pool_id: order.targetPoolId, created_by: markOf(order) },
    markOf(order),
  )
  return replicaId(created.replica_id)
}

async function moveTo(id: ReplicaId, move: Move): Promise<ActionResult> {
  const { turn, clock } = move
  const until = clock.mono() + READY_WITHIN
  for (;;) {
    const replica = await find(id, move)
    if (!replica) return { status: 'failed', reason: `the replica ${id} is not there any more` }
    const next = await step(replica, move)
    if ('status' in next) return next
    if (clock.mono() > until) {
      const reason = `the replica was not ready within ${READY_WITHIN / 60_000} minutes: ${next.waitingFor}`
      return giveUp(replica, { status: 'failed', reason }, move)
    }
    await sleep(clock, LOOK_EVERY, turn.signal)
  }
}

/** What can be done with the replica as it stands now, or what there is to wait for. */
async function step(
  replica: ReplicaView,
  move: Move,
): Promise<ActionResult | { readonly waitingFor: string }> {
  const { order, turn } = move
  const { status, is_active: isActive, pool_id: pool, failure, sync_percent: percent } = replica
  if (status === 'promoted') return took(order, replica)
  if (!isActive) return { status: 'failed', reason: `the replica in ${pool}: ${failure ?? status}` }
  if (status !== 'ready') return { waitingFor: `it is ${status}, ${Math.floor(percent)} % of the state` }
  const { objection, standing } = await turn.look()
  if (objection !== undefined) return giveUp(replica, { status: 'refused', reason: objection }, move)
  const refusal = await promote(replica, standing.epoch, move)
  if (refusal === undefined) return settle(replica, move)
  if (mayComeRight(refusal)) return { waitingFor: refusal.message }
  return giveUp(replica, { status: 'failed', reason: refusal.message }, move)
}

const find = async (id: ReplicaId, { order, moves }: Move): Promise<ReplicaView | undefined> =>
  (await moves.replicas(agentId(order.targetId))).find((one) => one.id === id)

/** Its votes were just taken anew, or the last of the state is under way. */
const mayComeRight = ({ code }: AppError): boolean => code === 'stale_epoch' || code === 'not_ready'

async function promote(
  { id }: ReplicaView,
  epoch: number,
  { order, moves }: Move,
): Promise<AppError | undefined> {
  try {
    const how = { expected_epoch: epoch, demote_old_primary: false }
    const by = { cause: 'decision', why: order.reason } as const
    await moves.promote(agentId(order.targetId), replicaId(id), how, by)
    return undefined
  } catch (error) {
    if (isAppError(error)) return error
    throw error
  }
}

/** The call may come back before the move has ended. */
async function settle({ id }: ReplicaView, move: Move): Promise<ActionResult> {
  const { order, turn, clock } = move
  const until = clock.mono() + MOVED_WITHIN
  for (;;) {
    const replica = await find(replicaId(id), move)
    if (replica?.status === 'promoted') return took(order, replica)
    if (clock.mono() > until || !replica?.is_active)
      return {
        status: 'failed',
        reason: `the switch to ${replica?.instance_id ?? id} did not come about: ${order.instanceId} goes on`,
      }
    await sleep(clock, LOOK_EVERY, turn.signal)
  }
}

const took = ({ instanceId }: Order, { instance_id: taker, pool_id: pool }: ReplicaView): ActionResult => ({
  status: 'done',
  reason: `${taker ?? 'the replica'} in ${pool} has taken over from ${instanceId}`,
})

/** Nobody pays for a replica that was made for nothing; one that an incident may need stays. */
async function giveUp(
  replica: ReplicaView,
  result: ActionResult,
  { order, turn, moves }: Move,
): Promise<ActionResult> {
  if (replica.created_by !== markOf(order)) return result
  const { standing } = await turn.look()
  if (standing.openIncident !== null)
    return { ...result, reason: `${result.reason}; the replica stays for the incident` }
  try {
    await moves.deleteReplica(agentId(order.targetId), replicaId(replica.id))
    return { ...result, reason: `${result.reason}; the replica that was made for it was ended` }
  } catch (error) {
    return { ...result, reason: `${result.reason}; the replica could not be ended: ${messageOf(error)}` }
  }
}
