import type { PipelineMode, StageName } from '@understudy/shared/pipeline/context'
import {
  type ActuatorLevel,
  actuatorOf,
  type InstanceConfig,
} from '@understudy/shared/pipeline/instance-config'
import { stageNamesOf } from '@understudy/shared/pipeline/pipeline'
import type { PipelineStatus } from '@understudy/shared/protocol/lab'

type Name = StageName | 'signal_override' | 'actuator'
type Stage = PipelineStatus['stages'][number]

/** Which version is to answer, and which does. */
export interface Inference {
  /** By its short name where it has one; null when none is assigned. */
  readonly assigned: string | null
  readonly answeredBy: string | null
  /** Why another one answers than the one that is assigned, or none at all. */
  readonly why: string | null
}

const descriptions: Readonly<Record<Name, string>> = {
  input: 'Fetching real-time spot prices',
  hardware: 'Architecture, vCPU, memory and GPU as the target needs them',
  right_sizing: 'Larger types are let in where they are cheaper',
  spot_advisor: 'Filtering by interrupt rate: the bands that are interrupted too often are dropped',
  risk: 'Running model predictions',
  safety_gate: 'What is too likely to become dear, or dearer than on-demand, is dropped',
  bin_packing: 'What would stay idle counts in the cost',
  ranking: 'Selecting the best candidate by effective cost',
  signal_override: "AWS's notices and recommendations beat the model",
  actuator: '',
}
const order = Object.keys(descriptions) as Name[]

const BYPASSED = 'Bypassed in Lab Mode'
const SWITCHED_OFF = 'Switched off in the configuration of the instance'

const steps: PipelineStatus['steps'] = [
  { step: 1, name: 'Scraper', stages: ['input'] },
  { step: 2, name: 'Safe Filter', stages: ['hardware', 'spot_advisor'] },
  { step: 3, name: 'ML Inference', stages: ['risk'] },
  { step: 4, name: 'Decision', stages: ['safety_gate', 'ranking', 'signal_override', 'actuator'] },
]

/** What the seeds show, and every stage besides. The gate and the signals are on in both modes, and cannot be switched off. */
export function pipelineStatus(
  config: InstanceConfig,
  inference: Inference,
): Omit<PipelineStatus, 'instance_id' | 'last_decision'> {
  const stages = order.map((stage): Stage => ({ stage, ...statusOf(stage, config, inference) }))
  const of = (name: Name) => {
    const { status, description } = stages.find(({ stage }) => stage === name) as Stage
    return { status, description }
  }
  return {
    pipeline_mode: config.pipelineMode,
    scraper: of('input'),
    bin_packing: of('bin_packing'),
    right_sizing: of('right_sizing'),
    ml_inference: inferenceOf(config, inference),
    stages,
    steps: config.pipelineMode === 'SINGLE_LINEAR' ? steps : [],
    actuator: { name: actuatorOf(config), level: config.level, description: acting(config) },
  }
}

function statusOf(
  name: Name,
  config: InstanceConfig,
  inference: Inference,
): { status: Stage['status']; description: string } {
  const off = whyOff(name, config)
  if (off !== undefined) return { status: 'disabled', description: off }
  if (name === 'actuator') return { status: 'active', description: acting(config) }
  if (name === 'risk' && inference.answeredBy === null)
    return {
      status: 'disabled',
      description: `The Spot Advisor alone: ${inference.why ?? 'no model answers'}`,
    }
  return { status: 'active', description: descriptions[name] }
}

function whyOff(name: Name, config: InstanceConfig): string | undefined {
  if (bypassed(name, config.pipelineMode)) return BYPASSED
  const off =
    (name === 'bin_packing' && !config.binPacking) ||
    (name === 'right_sizing' && !config.rightSizing) ||
    (name === 'risk' && !config.familyStress) ||
    (name === 'actuator' && config.level === 'none')
  return off ? SWITCHED_OFF : undefined
}

/** In the Lab the stage of right-sizing only keeps the size. */
const bypassed = (name: Name, mode: PipelineMode): boolean =>
  mode === 'SINGLE_LINEAR' &&
  (name === 'right_sizing' ||
    !([...stageNamesOf(mode), 'signal_override', 'actuator'] as Name[]).includes(name))

function inferenceOf(
  config: InstanceConfig,
  { assigned, answeredBy, why }: Inference,
): PipelineStatus['ml_inference'] {
  if (!config.familyStress)
    return { status: 'disabled', model_id: assigned, answered_by: null, description: SWITCHED_OFF }
  const answers = { model_id: assigned ?? answeredBy, answered_by: answeredBy }
  if (answeredBy === null)
    return {
      ...answers,
      status: 'fallback',
      description: `The Spot Advisor alone: ${why ?? 'no model answers'}`,
    }
  if (why !== null)
    return { ...answers, status: 'fallback', description: `${answeredBy} answers instead: ${why}` }
  return {
    ...answers,
    status: 'active',
    description: assigned === null ? 'The active model: none is assigned' : 'The model that is assigned',
  }
}

const levels: Readonly<Record<ActuatorLevel, string>> = {
  none: 'Decisions are made and kept; nothing is done',
  log: 'Decisions are written to the log; nothing is done',
  dry_run: 'All but the act itself',
  live: 'Decisions are carried out',
}

function acting(config: InstanceConfig): string {
  const { level, pipelineMode, accountEnvironment } = config
  const may = pipelineMode === 'CLUSTER_FULL' || accountEnvironment === 'LAB_INTERNAL'
  return may
    ? levels[level]
    : `${levels[level]}. The account is ${accountEnvironment}: there the Lab never acts`
}
