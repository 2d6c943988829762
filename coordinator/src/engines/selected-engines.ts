import type { SelectEngineResult } from '@understudy/shared/protocol/engines'
import type { Logger } from 'pino'
import { invalidInput } from '../http/http.ts'
import type { Engine } from './engine.ts'
import type { Registry } from './registry.ts'
import { type Selection, type SelectionStore, selectedAnew } from './selection-store.ts'

export type EngineConfig = Readonly<Record<string, unknown>>

/** Which engine counts for each decision, and how each is set. Read once, and again with every change: it is asked often. */
export interface SelectedEngines {
  load(): Promise<void>
  activeFor(decision: string): Engine | undefined
  /** The same object until it is changed. */
  configOf(engine: Engine): EngineConfig
  /** Undefined where nobody has selected it. */
  selectionOf(engine: Engine): Selection | undefined
  /** Of its decision; 0 before the first selection. */
  revisionOf(decision: string): number
  /** @throws AppError `not_found`, `input_invalid`, `conflict` */
  select(wish: Wish, actor: string): Promise<SelectEngineResult>
}

export interface Wish {
  readonly engineId: string
  /** Undefined: as it is. */
  readonly config: EngineConfig | undefined
  readonly expectedRevision: number | undefined
  readonly dryRun: boolean
}

const NOTHING: EngineConfig = {}

export function createSelectedEngines(parts: {
  readonly registry: Registry
  readonly store: SelectionStore
  /** Ids of those that count until somebody selects another. */
  readonly configured: readonly string[]
  readonly log: Logger
}): SelectedEngines {
  const { registry, store, configured, log } = parts
  let selections: readonly Selection[] = []
  let configs: ReadonlyMap<string, EngineConfig> = new Map()

  async function load(): Promise<void> {
    selections = await store.all()
    configs = new Map(
      registry.all.map((engine) => [engine.id, configFrom(engine, ofEngine(engine)?.config ?? {}, log)]),
    )
    for (const { active, engineId, decision } of selections)
      if (active && !registry.all.some(({ id }) => id === engineId))
        log.warn({
          ...{ event: 'engine.not_there', engine: engineId, decision, instead: activeFor(decision)?.id },
          note: 'it was selected, and this version does not have it',
        })
  }

  const ofEngine = ({ id }: Engine) => selections.find(({ engineId }) => engineId === id)
  const configOf = ({ id }: Engine) => configs.get(id) ?? NOTHING
  const revisionOf = (of: string) =>
    Math.max(0, ...selections.filter(({ decision }) => decision === of).map(({ revision }) => revision))

  function activeFor(decision: string): Engine | undefined {
    const engines = registry.for(decision)
    const selected = selections.find((one) => one.active && one.decision === decision)
    return (
      engines.find(({ id }) => id === selected?.engineId) ??
      engines.find(({ id }) => configured.includes(id)) ??
      engines[0]
    )
  }

  return {
    load,
    activeFor,
    configOf,
    selectionOf: ofEngine,
    revisionOf,
    async select({ engineId, config, expectedRevision, dryRun }, actor) {
      const engine = registry.get(engineId)
      const { decision } = engine
      const next = config === undefined ? configOf(engine) : assertConfig(engine, config)
      const seen = revisionOf(decision)
      if (expectedRevision !== undefined && expectedRevision !== seen)
        throw selectedAnew(decision, lastOf(selections, decision))
      const active = activeFor(decision) ?? engine
      const before = { engine_id: active.id, config: { ...configOf(active) } }
      const after = { engine_id: engine.id, config: { ...next } }
      if (!dryRun) {
        await store.select({ engineId: engine.id, decision, config: next, seen, actor })
        await load()
      }
      const changed = JSON.stringify(before) !== JSON.stringify(after)
      return { decision, changed, dry_run: dryRun, revision: revisionOf(decision), before, after }
    },
  }
}

function lastOf(selections: readonly Selection[], of: string) {
  const [last] = selections.filter(({ decision }) => decision === of).sort((a, b) => b.revision - a.revision)
  return last && { revision: last.revision, selected_by: last.by }
}

/** @throws AppError `input_invalid` */
export function assertConfig(engine: Engine, config: unknown): EngineConfig {
  const parsed = engine.config.safeParse(config)
  if (parsed.success) return parsed.data
  throw invalidInput(parsed.error, `configuration of ${engine.id}`, '/config')
}

/** What another version has stored may mean nothing to this one: then it is as usual. */
function configFrom(engine: Engine, stored: unknown, log: Logger): EngineConfig {
  const parsed = engine.config.safeParse(stored)
  if (parsed.success) return parsed.data
  log.error({
    ...{ event: 'engine.config_unreadable', engine: engine.id, why: parsed.error.message },
    note: 'it decides as if nothing had been set',
  })
  return NOTHING
}
