import { AppError } from '@understudy/shared/core/app-error'
import { type EngineName, engineNames } from '@understudy/shared/pipeline/context'
import type { Engine } from './engine.ts'

/** The engines of this version, by their ids. */
export interface Registry {
  readonly all: readonly Engine[]
  /** @throws AppError `not_found` with what is there */
  get(id: string): Engine
  /** Those for one decision, such as `spot-optimize`. */
  for(decision: string): readonly Engine[]
  /** Why nothing can be decided there. */
  noDecision(decision: string): AppError
}

/** Of the names in arbitration these are failover's own. */
const OF_FAILOVER: readonly EngineName[] = ['evacuation', 'rebalance']
const known: readonly string[] = engineNames.filter((name) => !OF_FAILOVER.includes(name))

export function createRegistry(all: readonly Engine[]): Registry {
  const there = { engines: all.map(({ id, decision }) => ({ engine_id: id, decision })) }
  const hint = `There is ${all.map(({ id, decision }) => `${id} for ${decision}`).join(', ')}: GET /api/v1/ml/engines/list.`
  const notFound = (message: string) => new AppError('not_found', message, { hint, facts: there })
  const why = (decision: string) =>
    known.includes(decision)
      ? `no engine for ${decision} is part of this version yet`
      : `there is no decision ${decision}`
  return {
    all,
    get(id) {
      const engine = all.find((one) => one.id === id)
      if (engine) return engine
      throw notFound(known.includes(id) ? why(id) : `there is no engine ${id}`)
    },
    for: (decision) => all.filter((one) => one.decision === decision),
    noDecision: (decision) => notFound(why(decision)),
  }
}
