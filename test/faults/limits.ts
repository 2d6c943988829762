import { within as withinLimit } from '../within.ts'
import { FaultFailed } from './fault-failed.ts'

/** How long the parts of a scene may take. Whatever takes longer is given up, and the next part begins. */
export const limits = {
  /** An agent with a ready standby, made anew where the last scenes have spoilt those that there were. */
  scene: 240_000,
  /** A fault from its beginning to what it looks at in the end; the slow ones wait for minutes by themselves. */
  fault: 120_000,
  slowFault: 300_000,
  heal: 90_000,
  readBack: 60_000,
  witness: 30_000,
  /** What belongs to a fault that was given up may go on for so long: its loops end by themselves. */
  leftOver: 15_000,
  close: 60_000,
} as const

/** @throws FaultFailed that names `what` */
export const within = <T>(what: string, millis: number, task: Promise<T>): Promise<T> =>
  withinLimit(what, millis, task, (why) => new FaultFailed(why))
