import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, hours, type Instant, minutes } from '@understudy/shared/core/time'
import { assertPlan, type ExperimentPlan } from '@understudy/shared/experiments/plan'
import type {
  ExperimentEstimate,
  ExperimentResults,
  ExperimentVerdict,
} from '@understudy/shared/protocol/experiments'
import type { Logger } from 'pino'
import type { Models } from '../models/models.ts'
import type { InstanceConfigs } from '../pipeline/pipeline.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import type { Assignments } from './assignments.ts'
import { estimateExperiment } from './experiment-estimate.ts'
import { createJudging } from './experiment-judging.ts'
import { type CostOf, createObservations, shadowAlias } from './experiment-observations.ts'
import { createExperimentStore, type Experiment, type ExperimentStore } from './experiment-store.ts'
import { createExperimentUnits, emptyArms } from './experiment-units.ts'
import type { ScoredRows } from './scored-rows.ts'

/** Registered plans, and their running: they start on time, are judged as they go, and stop by themselves. */
export interface Experiments extends Service {
  readonly store: Pick<ExperimentStore, 'find' | 'list' | 'holding' | 'naming' | 'inStatus'>
  /** @throws AppError `input_invalid`, `not_found` for a model or a unit */
  register(
    plan: ExperimentPlan,
    asked: { units: readonly string[]; startsAt: Instant | null; ratio: number },
    actor: string,
  ): Promise<{ experiment: Experiment; estimate: ExperimentEstimate }>
  /** @throws AppError `conflict` when it has begun or a unit is in another one, `not_ready` while no model is active */
  start(id: string, actor: string): Promise<Experiment>
  /** By hand: without a verdict, and back to control. @throws AppError `conflict` when it has ended */
  stop(id: string, actor: string): Promise<Experiment>
  results(id: string): Promise<ExperimentResults>
  /** One round: what is due starts, what is settled is counted, what is decided ends. */
  tick(): Promise<void>
}

export interface ExperimentsParts {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  readonly models: Pick<Models, 'store' | 'registry' | 'serving'>
  readonly configs: InstanceConfigs
  readonly assignments: Assignments
  readonly rows: ScoredRows
  readonly costOf: CostOf
}

const ROUND = minutes(5)
/** How long labels are still looked for after the end. */
const AFTERWARDS = hours(48)
/** Each arm in the shadow is a process of about 100 MiB. */
const MOST_SHADOWS = 8

export function createExperiments(parts: ExperimentsParts): Experiments {
  const { db, clock, log, models, configs } = parts
  const store = createExperimentStore(db, clock)
  const observations = createObservations({ ...parts, store, models: models.store })
  const judging = createJudging({ clock, store, observations })
  const placement = createExperimentUnits({ ...parts, serving: models.serving, store })
  const inTurn = createSerial()

  async function begin(experiment: Experiment, actor: string): Promise<Experiment> {
    const { row, plan, units } = experiment
    if (row.status !== 'REGISTERED')
      throw new AppError('conflict', `${row.id} is ${row.status} and cannot be started`, {
        hint: 'What has begun never begins again: register it anew.',
      })
    if (plan.kind === 'shadow') await assertScored(plan)
    for (const unit of units) await assertFree(unit)
    const at = clock.now()
    if (!(await store.begin(experiment, at)))
      throw new AppError('conflict', `${row.id} was started meanwhile`)
    const running = await store.find(row.id)
    try {
      if (plan.kind === 'shadow') await pointShadows(running, actor)
      else await placement.placeAll(running, actor)
    } catch (error) {
      await finish(running, actor, null)
      throw error
    }
    log.info({ event: 'experiment.started', experiment: row.id, kind: plan.kind, actor })
    return running
  }

  async function assertScored({ arms }: ExperimentPlan): Promise<void> {
    if (!models.serving.active)
      throw new AppError(
        'not_ready',
        'no model is active, so nothing is predicted in whose shadow another could be',
        {
          hint: 'POST /api/v1/ml/models/activate first.',
        },
      )
    const running = (await store.inStatus('RUNNING')).filter(({ plan }) => plan.kind === 'shadow')
    const taken = running.reduce((sum, { plan }) => sum + plan.arms.length, 0)
    if (taken + arms.length > MOST_SHADOWS)
      throw new AppError('conflict', `${taken} models run in the shadow, and ${MOST_SHADOWS} may`, {
        hint: 'Wait until one of the experiments has ended, or stop it.',
      })
  }

  async function assertFree(unit: string): Promise<void> {
    const held = await store.holding(unit)
    if (held !== undefined)
      throw new AppError('conflict', `${unit} is in ${held}`, {
        hint: `Wait until ${held} has ended, or stop it.`,
      })
  }

  async function pointShadows({ row, plan }: Experiment, actor: string): Promise<void> {
    for (const [arm, { modelId }] of plan.arms.entries())
      await models.registry.assign(shadowAlias(row.id, arm), modelId, actor, `${row.id} has begun`)
  }

  /** Back to control: what a unit was told before, with the model of control. */
  async function finish(
    experiment: Experiment,
    by: string,
    verdict: ExperimentVerdict | null,
  ): Promise<boolean> {
    const { row, plan } = experiment
    if (!(await store.end(experiment, clock.now(), by, verdict))) return false
    await release(experiment, by)
    log.info({
      event: 'experiment.ended',
      experiment: row.id,
      kind: plan.kind,
      by,
      verdict: verdict?.verdict,
      reason: verdict?.reason,
    })
    return true
  }

  /** Done again after a failure: nothing of it is done twice. */
  async function release(experiment: Experiment, by: string): Promise<void> {
    const { row, plan } = experiment
    if (plan.kind === 'shadow') {
      const aliases = [...(await models.store.aliases()).values()].flat()
      for (const arm of plan.arms.keys())
        if (aliases.includes(shadowAlias(row.id, arm)))
          await models.registry.assign(shadowAlias(row.id, arm), null, by, `${row.id} has ended`)
    }
    await placement.giveBack(experiment, by)
  }

  async function advance(experiment: Experiment): Promise<void> {
    const { row, plan } = experiment
    await placement.keepPlaced(experiment, 'coordinator')
    await observations.settle(experiment)
    const settled = await store.find(row.id)
    await store.countLate(row.id, await observations.late(settled))
    const { verdict } = await judging.results(settled)
    if (verdict && verdict.verdict !== 'INSUFFICIENT') await finish(settled, 'coordinator', verdict)
    else if (plan.kind === 'pin' && isOver(settled)) await finish(settled, 'coordinator', null)
  }

  const isOver = ({ row, plan }: Experiment): boolean =>
    clock.now() - (row.started_at ?? clock.now()) >= plan.maxDuration

  async function tick(): Promise<void> {
    const now = clock.now()
    for (const experiment of await store.inStatus('REGISTERED'))
      if (experiment.row.starts_at !== null && experiment.row.starts_at <= now)
        await attempt(experiment, 'not_started', () => begin(experiment, 'schedule'))
    for (const experiment of await store.inStatus('RUNNING'))
      await attempt(experiment, 'not_advanced', () => advance(experiment))
    for (const experiment of await store.inStatus('ENDED'))
      if (now - (experiment.row.ended_at ?? 0) < AFTERWARDS)
        await attempt(experiment, 'not_released', () => afterwards(experiment))
  }

  /** Late labels are counted; the verdict stays. What could not be given back at the end is given back now. */
  async function afterwards(experiment: Experiment): Promise<void> {
    await release(experiment, 'coordinator')
    await store.countLate(experiment.row.id, await observations.late(experiment))
  }

  async function attempt(experiment: Experiment, what: string, task: () => Promise<unknown>): Promise<void> {
    try {
      await task()
    } catch (error) {
      const about = { event: `experiment.${what}`, experiment: experiment.row.id, why: messageOf(error) }
      // Whatever is wrong with one of them, the others go on.
      if (isAppError(error)) log.warn(about)
      else log.error({ ...about, err: error })
    }
  }

  return {
    name: 'experiments',
    store,
    async register(plan, { units, startsAt, ratio }, actor) {
      assertPlan(plan)
      assertUnits(plan, units)
      for (const { modelId } of plan.arms)
        if (!(await models.store.find(modelId)))
          throw new AppError('not_found', `there is no model ${modelId}`, {
            hint: 'GET /api/v1/lab/models lists them.',
          })
      const targets = await Promise.all(units.map(async (unit) => (await configs.get(unit)).id))
      if (new Set(targets).size < targets.length)
        throw new AppError('input_invalid', 'two of instance_ids are the same target')
      const estimate = await estimateExperiment(db, clock.now(), { plan, units: targets, ratio })
      const experiment = await store.register(plan, targets, startsAt, actor)
      const empty = emptyArms(experiment.row.id, plan, targets)
      if (empty.length === 0) return { experiment, estimate }
      const warning = `By chance no unit comes into ${empty.join(' and ')}: it could never be judged. Register it anew, best with more units.`
      return { experiment, estimate: { ...estimate, warnings: [...estimate.warnings, warning] } }
    },
    start: (id, actor) => inTurn(async () => begin(await store.find(id), actor)),
    stop: (id, actor) =>
      inTurn(async () => {
        const experiment = await store.find(id)
        if (!(await finish(experiment, actor, null)))
          throw new AppError('conflict', `${id} has ended already`)
        return store.find(id)
      }),
    results: async (id) => judging.results(await store.find(id)),
    tick: () => inTurn(tick),
    run: (signal) =>
      everyPeriod(clock, ROUND, signal, async () => {
        try {
          await inTurn(tick)
        } catch (error) {
          if (!signal.aborted) log.error({ event: 'experiments.failed', err: error })
        }
      }),
  }
}

/** @throws AppError `input_invalid` */
function assertUnits({ kind }: ExperimentPlan, units: readonly string[]): void {
  const wanted = { shadow: units.length === 0, ab: units.length >= 2, pin: units.length === 1 }[kind]
  if (wanted) return
  const message = {
    shadow: 'every pool is scored in the shadow: leave instance_ids out',
    ab: 'an A/B needs two instances or more in instance_ids',
    pin: 'a pin is of one instance: name it in instance_ids',
  }[kind]
  throw new AppError('input_invalid', message, { errors: [{ pointer: '/instance_ids', message }] })
}
