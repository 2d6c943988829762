import { randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { type Clock, hours, type Instant, type Millis, millis } from '@understudy/shared/core/time'
import { type Pool, regionOf } from '@understudy/shared/market/pool'
import { arbitrate, type Proposal } from '@understudy/shared/pipeline/arbitration'
import type { EngineName, Offer, PipelineInput } from '@understudy/shared/pipeline/context'
import type { Decision, DecisionName } from '@understudy/shared/pipeline/decision'
import {
  actuatorOf,
  defaultInstanceConfig,
  type InstanceConfig,
} from '@understudy/shared/pipeline/instance-config'
import { evaluate, type Outcome } from '@understudy/shared/pipeline/pipeline'
import type { Order } from '@understudy/shared/pipeline/preconditions'
import { nextForgone } from '@understudy/shared/pipeline/switch-rule'
import type { ActionResult } from './actuators/actuator.ts'
import { type DecisionStore, digestOf, type NewDecision } from './decision-store.ts'
import { type RiskModel, scoreFor } from './evaluations.ts'
import type { InstanceConfigs } from './instance-configs.ts'
import { inputFor, type Moment, type PolicyOf, scoringOf } from './pipeline-input.ts'
import { type RegionSources, regionOffers } from './region-offers.ts'
import type { Target, Targets } from './targets.ts'

/** A cycle of decisions over the whole fleet. */
export interface Batch {
  /** @throws AppError `busy` while one is under way */
  run(by: 'schedule' | string): Promise<Cycle>
}

export interface Cycle {
  readonly id: string
  readonly by: string
  readonly at: Instant
  readonly durationMs: number
  /** Of which the models took so much. */
  readonly modelMs: number
  readonly targets: number
  readonly decisions: Readonly<Partial<Record<DecisionName, number>>>
  /** Voluntary moves that might begin, and those that it has let begin. */
  readonly budget: number
  readonly acted: number
  /** Those about which nothing could be decided, and why. */
  readonly skipped: readonly { readonly target: string; readonly reason: string }[]
  /** What happened with what was to be done. */
  readonly actions: readonly ({ readonly target: string; readonly decisionId: string } & ActionResult)[]
}

/** One decision of a cycle, before it is stored. */
export interface Decided {
  readonly decision: NewDecision
  readonly target: Target
  readonly config: InstanceConfig
  readonly forgoneUsd: number
  readonly order: Order | undefined
}

export interface BatchPorts {
  readonly clock: Clock
  readonly targets: Targets
  readonly configs: Pick<InstanceConfigs, 'list'>
  readonly store: Pick<DecisionStore, 'addAll'>
  readonly sourcesOf: (region: string) => Promise<RegionSources>
  readonly model: RiskModel
  readonly policyOf: PolicyOf
  /** P(termination | AWS recommends a rebalance) in this pool. */
  readonly rebalanceProbabilityOf: (pool: Pool) => Promise<number>
  /** Whether the models are good enough for voluntary moves. */
  readonly voluntaryMovesAllowed: () => { readonly allowed: boolean; readonly reason: string }
  readonly submit: (order: Order) => Promise<ActionResult>
  /** Told of all decisions of a cycle once they are stored. */
  readonly onCycle: (cycle: Cycle, decided: readonly Decided[]) => void
}

/** Time that nobody has watched does not count as time in which staying has cost something. */
const WATCHED = hours(1)

export function createBatch(ports: BatchPorts): Batch {
  let running = false
  return {
    async run(by) {
      if (running)
        throw new AppError('busy', 'a cycle of decisions is under way', {
          hint: 'GET /api/v1/ml/decisions lists its decisions when it has ended.',
          retryable: true,
        })
      running = true
      try {
        return await runCycle(ports, by)
      } finally {
        running = false
      }
    },
  }
}

async function runCycle(ports: BatchPorts, by: string): Promise<Cycle> {
  const { clock, targets, configs, store } = ports
  const began = clock.mono()
  const now = clock.now()
  const id = randomUUID()
  const all = await targets.all()
  const known = new Map((await configs.list()).map((config) => [config.id, config]))
  const skipped: { target: string; reason: string }[] = []
  const scene: Scene = {
    ...{ ports, id, now, skipped, known, regions: new Map(), policyOf: ports.policyOf },
    ...{ interruptions: await targets.interruptions(), movesLeft: await targets.movesLeft(), modelMs: 0 },
    voluntary: ports.voluntaryMovesAllowed().allowed,
  }
  let decided: Decided[] = []
  for (const target of all) {
    const one = await decide(scene, target).catch((error: unknown) => {
      skipped.push({ target: target.id, reason: messageOf(error) })
    })
    if (one) decided.push(one)
    // Whoever holds a lease is heard in between.
    await setImmediate()
  }
  decided = await withinBudget(scene, decided)
  await store.addAll(
    decided.map(({ decision }) => decision),
    now,
  )
  await targets.remember(decided.map(toRemembered), now)
  const actions = []
  for (const { order } of decided) {
    if (!order) continue
    actions.push({ target: order.targetId, decisionId: order.decisionId, ...(await submit(ports, order)) })
    await setImmediate()
  }
  const cycle: Cycle = {
    ...{ id, by, at: now, durationMs: clock.mono() - began, modelMs: scene.modelMs, targets: all.length },
    decisions: countOf(decided),
    budget: scene.movesLeft,
    acted: actions.filter(({ status }) => status === 'running').length,
    ...{ skipped, actions },
  }
  ports.onCycle(cycle, decided)
  return cycle
}

/** One that cannot be handed over does not keep the others from theirs. */
async function submit(ports: BatchPorts, order: Order): Promise<ActionResult> {
  try {
    return await ports.submit(order)
  } catch (error) {
    return { status: 'failed', reason: messageOf(error) }
  }
}

/** What is the same for all targets of a cycle. */
interface Scene extends Moment {
  readonly ports: BatchPorts
  readonly id: string
  readonly known: ReadonlyMap<string, InstanceConfig>
  readonly voluntary: boolean
  readonly regions: Map<string, Promise<Region>>
  readonly skipped: { target: string; reason: string }[]
  modelMs: number
}

/** Its offers, and for each model in use their scores: one call for all targets. */
interface Region {
  readonly sources: RegionSources
  readonly offers: readonly Offer[]
  readonly scored: Map<string | null, Awaited<ReturnType<RiskModel['score']>>>
}

/** Read once, also where it cannot be read. */
function regionFor(scene: Scene, name: string): Promise<Region> {
  const known = scene.regions.get(name)
  if (known) return known
  const region = scene.ports
    .sourcesOf(name)
    .then((sources) => ({ sources, offers: regionOffers(name, sources), scored: new Map() }))
  scene.regions.set(name, region)
  return region
}

async function scoresFor(scene: Scene, { scored, offers }: Region, scoring: string | null) {
  const known = scored.get(scoring)
  if (known) return known
  const { clock, model } = scene.ports
  const began = clock.mono()
  const scores = await scoreFor(model, scoring, offers, scene.now)
  scene.modelMs += clock.mono() - began
  scored.set(scoring, scores)
  return scores
}

async function decide(scene: Scene, target: Target): Promise<Decided | undefined> {
  const config = scene.known.get(target.id) ?? defaultInstanceConfig(target.id)
  const skip = (reason: string) => void scene.skipped.push({ target: target.id, reason })
  if (!config.enabled) return skip('decisions for it are switched off')
  const region = await regionFor(scene, regionOf(target.availabilityZone))
  const facts = region.sources.factsOf(target.instanceType)
  if (!facts) return skip(`nothing is known of the instance type ${target.instanceType}`)
  const about = {
    ...{ config, facts },
    scored: await scoresFor(scene, region, scoringOf(config)),
    rebalanceProbability: await scene.ports.rebalanceProbabilityOf(target),
  }
  const input = inputFor(target, about, scene)
  return judge(scene, { target, config, input })
}

function judge(
  scene: Scene,
  { target, config, input }: Pick<Decided, 'target' | 'config'> & { readonly input: PipelineInput },
): Decided {
  const { clock } = scene.ports
  const began = clock.mono()
  const outcome = evaluate(input)
  const id = randomUUID()
  const made = {
    instanceId: target.instanceId,
    targetId: target.id,
    poolId: `${target.instanceType}@${target.availabilityZone}`,
    cycleId: scene.id,
    actuator: actuatorOf(config),
    level: config.level,
  }
  const decision = {
    id,
    input,
    made: { ...made, durationMs: clock.mono() - began },
    digest: digestOf(outcome),
  }
  return {
    decision,
    target,
    config,
    forgoneUsd: forgoneOf(outcome, target, scene.now),
    order: orderOf(decision, outcome, target),
  }
}

function forgoneOf({ current, ranked }: Outcome, { remembered }: Target, now: Instant): number {
  if (!current || remembered.at === null) return remembered.forgoneUsd
  const watched: Millis = millis(Math.min(WATCHED, Math.max(0, now - remembered.at)))
  const best = ranked.find(({ isCurrent }) => !isCurrent)
  return nextForgone(remembered.forgoneUsd, current, best, watched / hours(1))
}

function orderOf({ id, input, made }: NewDecision, outcome: Outcome, target: Target): Order | undefined {
  const { decision } = outcome
  const { action } = decision
  if (!action || !made.actuator || !made.level) return undefined
  return {
    decisionId: id,
    engine: engineOf(decision),
    targetId: target.id,
    instanceId: target.instanceId,
    poolId: made.poolId,
    epoch: target.epoch,
    term: target.term,
    decision: decision.decision,
    code: decision.code,
    reason: decision.reason,
    kind: action.kind,
    riskSource: outcome.riskSource,
    targetPoolId: decision.target?.id ?? null,
    targetSpotUsd: decision.target?.offer.spotUsd ?? null,
    gainUsd: decision.gainUsd,
    actuator: made.actuator,
    level: made.level,
    orderedAt: input.now,
  }
}

const engines: Readonly<Record<DecisionName, EngineName>> = {
  STAY: 'spot-optimize',
  SWITCH: 'spot-optimize',
  DRAIN: 'rebalance',
  EVACUATE: 'evacuation',
}
const engineOf = ({ decision }: Decision): EngineName => engines[decision]

/**
 * Those that would really act share the budget; who gets none of it is decided for again without one, so that what is stored
 * is what was decided. Whoever only says what it would do takes nothing away from the others.
 */
async function withinBudget(scene: Scene, decided: readonly Decided[]): Promise<Decided[]> {
  const acting = decided.filter(
    ({ order, config, target }) =>
      order !== undefined &&
      config.level === 'live' &&
      (order.kind !== 'SWITCH' || (scene.voluntary && target.autoSwitch)),
  )
  const proposals = acting.map(
    ({ order, target }): Proposal => ({
      engine: order?.engine ?? 'spot-optimize',
      target: target.id,
      action: order?.kind ?? '',
      voluntary: order?.kind === 'SWITCH',
    }),
  )
  const { skipped } = arbitrate(proposals, scene.movesLeft)
  const without = new Set(skipped.filter(({ code }) => code === 'NO_BUDGET').map(({ target }) => target))
  const all: Decided[] = []
  for (const one of decided) {
    if (!without.has(one.target.id)) {
      all.push(one)
      continue
    }
    const { input } = one.decision
    all.push(judge(scene, { ...one, input: { ...input, budget: { ...input.budget, movesLeft: 0 } } }))
    await setImmediate()
  }
  return all
}

function toRemembered({ target, forgoneUsd, decision }: Decided) {
  const signals = decision.digest.decision.action?.signals ?? []
  const open = new Set([...target.remembered.handledSignals, ...signals])
  return { target, at: null, forgoneUsd, handledSignals: [...open].slice(-MOST_SIGNALS) }
}

/** Of one primary: an instance has one notice, and few recommendations before it. */
const MOST_SIGNALS = 20

function countOf(decided: readonly Decided[]): Partial<Record<DecisionName, number>> {
  const counts: Partial<Record<DecisionName, number>> = {}
  for (const { decision } of decided) {
    const name = decision.digest.decision.decision
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}
