import { AppError } from '../core/app-error.ts'
import type { Instant } from '../core/time.ts'
import type { PipelineMode } from './context.ts'

/** How far a decision goes: nothing, a line in the log, all but the act itself, the act. */
export const actuatorLevels = ['none', 'log', 'dry_run', 'live'] as const
export type ActuatorLevel = (typeof actuatorLevels)[number]

/** Who carries a decision out: nobody, whoever reads the plan, or a replica and a planned switch. */
export const actuatorNames = ['log', 'plan', 'agent'] as const
export type ActuatorName = (typeof actuatorNames)[number]

/** What the account is for: only one that is for experiments lets the Lab act. */
export const accountEnvironments = ['PRODUCTION', 'LAB_INTERNAL'] as const
export type AccountEnvironment = (typeof accountEnvironments)[number]

/** How decisions are made for one target, and how far they go. */
export interface InstanceConfig {
  /** The agent's id, so that it outlives a change of primary; an instance's own id where no agent is known for it. */
  readonly id: string
  /** False: the batch passes over it, and nothing is done about it. */
  readonly enabled: boolean
  readonly pipelineMode: PipelineMode
  /** Null: `plan` in CLUSTER_FULL, `agent` in SINGLE_LINEAR. */
  readonly actuator: ActuatorName | null
  readonly level: ActuatorLevel
  /** Null: the active model. */
  readonly modelId: string | null
  readonly binPacking: boolean
  readonly rightSizing: boolean
  /** False: the model is not asked, and only signals move anything. */
  readonly familyStress: boolean
  readonly accountEnvironment: AccountEnvironment
  /** Null: these are the defaults, and nobody has said anything else. */
  readonly updatedAt: Instant | null
  readonly updatedBy: string | null
}

export type InstanceConfigChange = Partial<Omit<InstanceConfig, 'id' | 'updatedAt' | 'updatedBy'>>

/** What holds for a target of which nobody has said anything. */
export const defaultInstanceConfig = (id: string): InstanceConfig => ({
  id,
  enabled: true,
  pipelineMode: 'CLUSTER_FULL',
  actuator: null,
  level: 'dry_run',
  modelId: null,
  binPacking: true,
  rightSizing: true,
  familyStress: true,
  accountEnvironment: 'PRODUCTION',
  updatedAt: null,
  updatedBy: null,
})

export const actuatorOf = ({ actuator, pipelineMode }: InstanceConfig): ActuatorName =>
  actuator ?? (pipelineMode === 'SINGLE_LINEAR' ? 'agent' : 'plan')

const mayAct = ({ level, pipelineMode, modelId, accountEnvironment }: InstanceConfig): boolean =>
  level !== 'live' ||
  (pipelineMode === 'CLUSTER_FULL' && modelId === null) ||
  accountEnvironment === 'LAB_INTERNAL'

/** What holds, whatever was said before the account was for something else: there the Lab decides and does not act. */
export const inForce = (config: InstanceConfig): InstanceConfig =>
  mayAct(config) ? config : { ...config, level: 'dry_run' }

/**
 * The configuration with a change made to it. What is left out stays.
 * @throws AppError `conflict` when the Lab would act in an account that is not for experiments
 */
export function withChange(config: InstanceConfig, change: InstanceConfigChange): InstanceConfig {
  const said = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined))
  const next: InstanceConfig = { ...config, ...said }
  if (!mayAct(next))
    throw new AppError(
      'conflict',
      `${next.id} is in an account of ${next.accountEnvironment}: there the Lab decides and does not act`,
      { hint: 'Use the level dry_run, or mark the account as LAB_INTERNAL.' },
    )
  return next
}
