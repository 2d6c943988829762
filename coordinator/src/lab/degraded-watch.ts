import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, minutes } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { ModelAlerts, Models } from '../models/models.ts'
import type { InstanceConfigs } from '../pipeline/pipeline.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import type { ExperimentStore } from './experiment-store.ts'
import { degradedCodes, degradedNow } from './performance.ts'

/** Raises an alert about each version that targets or experiments use and that does not answer as it should. */
export interface DegradedWatch extends Service {
  lookOnce(): Promise<void>
}

export interface DegradedPorts {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  readonly models: Pick<Models['store'], 'find'>
  readonly configs: Pick<InstanceConfigs, 'list'>
  readonly experiments: Pick<ExperimentStore, 'inStatus'>
  readonly alerts: Pick<ModelAlerts, 'set' | 'open'>
}

const EVERY = minutes(5)

export function createDegradedWatch(ports: DegradedPorts): DegradedWatch {
  const { db, clock, log, models, configs, experiments, alerts } = ports

  async function inUse(): Promise<ReadonlySet<string>> {
    const assigned = (await configs.list()).flatMap(({ modelId }) => modelId ?? [])
    const running = await experiments.inStatus('RUNNING')
    const tried = running.flatMap(({ plan }) => plan.arms.map(({ modelId }) => modelId))
    return new Set([...assigned, ...tried])
  }

  async function lookOnce(): Promise<void> {
    const used = await inUse()
    const open = alerts.open().flatMap((alert) => (alert.kind === 'DEGRADED' ? [alert.model_id] : []))
    for (const id of new Set([...used, ...open])) {
      const model = used.has(id) ? await models.find(id) : undefined
      const reasons = model ? await degradedNow(db, model, clock.now()) : []
      for (const code of degradedCodes) {
        const found = reasons.find((reason) => reason.code === code)
        const state = found && {
          severity: code === 'QUARANTINED' ? ('alert' as const) : ('warn' as const),
          said: found.reason,
          facts: { code },
        }
        await alerts.set(id, 'DEGRADED', code.toLowerCase(), state)
      }
    }
  }

  return {
    name: 'degraded-models',
    lookOnce,
    run: (signal) =>
      everyPeriod(clock, EVERY, signal, async () => {
        try {
          await lookOnce()
        } catch (error) {
          if (!signal.aborted) log.error({ event: 'lab.degraded_not_looked_for', err: error })
        }
      }),
  }
}
