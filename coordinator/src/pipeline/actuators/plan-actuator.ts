import type { Order } from '@understudy/shared/pipeline/preconditions'
import type { Actuator } from './actuator.ts'

/** Writes down what an operator or Kubernetes would have to do, step by step; does none of it. */
export const planActuator: Actuator = {
  name: 'plan',
  describe: (order) => `plan: ${stepsOf(order).join('; ')}`,
  carryOut: (order) => Promise.resolve({ status: 'planned', reason: stepsOf(order).join('; ') }),
}

const steps: Readonly<Record<Order['kind'], (order: Order) => readonly string[]>> = {
  LAUNCH: (order) => [launch(order)],
  SWITCH: (order) => [launch(order), 'wait until it is ready', ...moveAway(order)],
  REPLICA: (order) => [launch(order), `leave ${order.instanceId} running`],
  CORDON_AND_PRELAUNCH: (order) => [
    `cordon ${order.instanceId}`,
    launch(order),
    `drain ${order.instanceId} when the new one is ready or a termination notice comes`,
  ],
  DRAIN: (order) => [launch(order), ...moveAway(order)],
  EVACUATE: (order) => [`drain ${order.instanceId} now`, launch(order)],
}

const stepsOf = (order: Order): readonly string[] => steps[order.kind](order)

const launch = ({ targetPoolId }: Order): string =>
  targetPoolId === null ? 'launch on demand: no spot pool is left' : `launch one in ${targetPoolId}`

const moveAway = ({ instanceId }: Order): readonly string[] => [
  `cordon and drain ${instanceId}`,
  `terminate ${instanceId}`,
]
