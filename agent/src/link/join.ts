import type { Random } from '@understudy/shared/core/random'
import type { Clock } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { AgentConfig } from '../config/options.ts'
import type { ImdsClient } from '../imds/imds-client.ts'
import { AGENT_VERSION } from '../version.ts'
import { type Enrolment, enrolUntilDone, readEnrolment, saveEnrolment } from './enrolment.ts'

export interface JoinParts {
  readonly config: AgentConfig
  /** Where the enrolment is kept. */
  readonly path: string
  readonly imds: ImdsClient
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Who this instance is: as it was told once, or by enrolling now. @throws AppError */
export async function join(
  { config, path, imds, clock, random, log }: JoinParts,
  signal: AbortSignal,
): Promise<Enrolment> {
  const known = readEnrolment(path)
  if (known) return known
  const request = {
    coordinatorUrl: config.coordinator_url,
    joinToken: config.join_token,
    stateDirectories: config.workload.state.length,
    settings: {
      auto_replica_enabled: config.auto_replica_enabled,
      manual_replica_enabled: config.manual_replica_enabled,
      rebalance_threshold: config.rebalance_threshold,
    },
    agentVersion: AGENT_VERSION,
    imds,
  }
  const enrolled = await enrolUntilDone(request, clock, random, log, signal)
  await saveEnrolment(path, enrolled)
  log.info({ event: 'enrolled', agent: enrolled.agentId, instance: enrolled.instanceId })
  return enrolled
}
