import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { type Clock, type Millis, minutes, seconds } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { ModelHost } from './host/model-host.ts'
import { toBatch } from './probability.ts'
import { refusalOf } from './refusal.ts'
import type { ServedModel } from './served-model.ts'
import { createSlot, drained, type Slot, type Trouble } from './slot.ts'

/** How long the version of before is kept ready to come back. */
const WARM = minutes(15)
/** How long a prediction waits for a process that is being started, when there is no other. */
const WAIT: Millis = seconds(5)
const ATTEMPTS = 4

/** Probabilities, and which version has given them: that is what is recorded with every decision. */
export interface Prediction {
  readonly model: ServedModel
  /** `previous` when the active one could not answer. */
  readonly answeredBy: 'active' | 'previous' | 'alias'
  /** One for each row. */
  readonly p: Float64Array
  /** Of the whole call, and within the runtime. */
  readonly millis: number
  readonly runMillis: number
}

export interface ServingPorts {
  readonly clock: Clock
  readonly log: Logger
  readonly prepare: (model: ServedModel) => Promise<ModelHost>
  /** The version should be taken back; it still serves. */
  readonly onTrouble: (alias: string, model: ServedModel, trouble: Trouble) => void
}

/**
 * Which version answers. A change is one assignment: predictions under way end where they began, the next one goes to the
 * new version, and the old one stays ready for a quarter of an hour.
 */
export interface Serving {
  readonly active: ServedModel | undefined
  /** Ready to come back at once. */
  readonly warm: ServedModel | undefined
  /** Processes, for metrics. */
  hosts(): readonly {
    alias: string
    model: ServedModel
    pid: number | undefined
    rss: number | undefined
    ready: boolean
  }[]
  /**
   * @param values features row after row, NaN for what is missing
   * @throws AppError `input_invalid`, `unavailable` when no model is active or none answers
   */
  predict(values: Float32Array): Promise<Prediction>
  /** By what an alias such as `shadow:1` or `lab:i-1` points to. @throws as `predict`, and `not_found` */
  predictAs(alias: string, values: Float32Array): Promise<Prediction>
  /**
   * Puts it in place of the active one, with a process that is ready or without.
   * @param keepWarm whether the one that it replaces should be ready to come back
   */
  activate(model: ServedModel, host: ModelHost | undefined, keepWarm?: boolean): void
  /** A process of it that is ready, where it is the one of before. */
  isWarm(id: string): boolean
  /** Without a model nothing is predicted. */
  deactivate(): void
  assign(alias: string, model: ServedModel | undefined, host: ModelHost | undefined): void
  /** Puts a new process in place of that of the active version. */
  renew(host: ModelHost): void
  close(): Promise<void>
}

export function createServing(ports: ServingPorts): Serving {
  const { clock, log } = ports
  const others = new Map<string, Slot>()
  const closing = new Set<Promise<void>>()
  let active: Slot | undefined
  let previous: Slot | undefined
  let cancelWarm = () => {}

  const slotOf = (alias: string, model: ServedModel, host: ModelHost | undefined): Slot =>
    createSlot(model, host, {
      clock,
      log,
      prepare: ports.prepare,
      onTrouble: (slot, trouble) => {
        const serves = slot === active || slot === others.get(alias)
        if (serves) ports.onTrouble(slot === active ? 'active' : alias, slot.model, trouble)
        return serves
      },
    })

  function retire(slot: Slot | undefined): void {
    if (!slot) return
    const end = drained(slot, clock)
      .then(() => slot.close())
      .finally(() => closing.delete(end))
    closing.add(end)
  }

  function keepWarm(slot: Slot | undefined): void {
    cancelWarm()
    if (previous !== slot) retire(previous)
    previous = slot
    if (!slot) return
    cancelWarm = clock.timer(WARM, () => {
      log.info({ event: 'model.previous_released', model: slot.model.id })
      previous = undefined
      retire(slot)
    })
  }

  function put(slot: Slot, keepOld: boolean): void {
    const old = active
    active = slot
    if (previous === slot) previous = undefined
    keepWarm(keepOld ? old : undefined)
    if (!keepOld) retire(old)
  }

  async function ask(slot: Slot, values: Float32Array) {
    return slot.run(toBatch(slot.model.manifest, values))
  }

  /** What another version may answer instead: the process has gone, or what it said cannot be used. */
  const mayRetry = (error: unknown): boolean =>
    isAppError(error, 'unavailable') || refusalOf(error) !== undefined

  const same = (a: ServedModel, b: ServedModel): boolean => {
    const names = ({ manifest }: ServedModel) => manifest.input.features.map(({ name }) => name).join('\n')
    return a.id === b.id || names(a) === names(b)
  }

  /** The active version; the one of before where that cannot answer and takes the same features. */
  async function choose(failed: ReadonlySet<Slot>): Promise<Slot> {
    const current = active
    if (!current)
      throw new AppError('unavailable', 'no model is active', {
        hint: 'Upload one and activate it: POST /api/v1/ml/models/upload, POST /api/v1/ml/models/activate.',
      })
    if (current.ready && !failed.has(current)) return current
    if (previous?.ready && !failed.has(previous) && same(previous.model, current.model)) return previous
    if (await current.whenReady(WAIT)) return current
    throw new AppError('unavailable', `no process of ${current.model.id} could be started`, {
      retryable: true,
    })
  }

  return {
    get active() {
      return active?.model
    },
    get warm() {
      return previous?.model
    },
    hosts() {
      const slots: [string, Slot | undefined][] = [['active', active], ['previous', previous], ...others]
      return slots.flatMap(([alias, slot]) =>
        slot ? [{ alias, model: slot.model, pid: slot.pid, rss: slot.rss, ready: slot.ready }] : [],
      )
    },
    async predict(values) {
      const start = clock.mono()
      const failed = new Set<Slot>()
      let last: unknown
      for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
        const slot = await choose(failed)
        try {
          const { values: p, millis: runMillis } = await ask(slot, values)
          const answeredBy = slot === previous ? 'previous' : 'active'
          return { model: slot.model, answeredBy, p, millis: clock.mono() - start, runMillis }
        } catch (error) {
          if (!mayRetry(error)) throw error
          failed.add(slot)
          last = error
        }
      }
      throw last
    },
    async predictAs(alias, values) {
      const start = clock.mono()
      const slot = others.get(alias)
      if (!slot) throw new AppError('not_found', `no model is assigned to ${alias}`)
      await slot.whenReady(WAIT)
      const { values: p, millis: runMillis } = await ask(slot, values)
      return { model: slot.model, answeredBy: 'alias', p, millis: clock.mono() - start, runMillis }
    },
    activate(model, host, keepOld = true) {
      if (!host && previous?.model.id === model.id) put(previous, keepOld)
      else put(slotOf('active', model, host), keepOld)
    },
    isWarm: (id) => previous?.model.id === id && previous.ready,
    deactivate() {
      retire(active)
      active = undefined
    },
    assign(alias, model, host) {
      const old = others.get(alias)
      if (model) others.set(alias, slotOf(alias, model, host))
      else others.delete(alias)
      retire(old)
    },
    renew(host) {
      if (!active) return void host.close()
      const old = active
      active = slotOf('active', old.model, host)
      retire(old)
    },
    async close() {
      cancelWarm()
      const slots = [active, previous, ...others.values()]
      active = undefined
      previous = undefined
      others.clear()
      await Promise.all([...closing, ...slots.map((slot) => slot?.close())])
    },
  }
}
