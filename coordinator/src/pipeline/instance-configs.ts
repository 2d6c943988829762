import { AppError } from '@understudy/shared/core/app-error'
import { AGENT_ID_PATTERN } from '@understudy/shared/core/ids'
import { type Clock, instant } from '@understudy/shared/core/time'
import type { PipelineMode } from '@understudy/shared/pipeline/context'
import {
  type AccountEnvironment,
  type ActuatorLevel,
  type ActuatorName,
  defaultInstanceConfig,
  type InstanceConfig,
  type InstanceConfigChange,
  inForce,
  withChange,
} from '@understudy/shared/pipeline/instance-config'
import type { InstanceConfigRow, Kysely, Schema } from '../storage/database.ts'
import { type AccountOf, accountOf, accountsOfAll } from './accounts.ts'

/**
 * How decisions are made for each target. An id is an agent's or an instance's; what is said of an instance is kept for its
 * agent, so that it holds for the instance that takes over too.
 */
export interface InstanceConfigs {
  /** The defaults where nobody has said anything. */
  get(id: string): Promise<InstanceConfig>
  /** Makes a change and returns what holds now. @throws AppError `input_invalid`, `conflict` */
  put(id: string, change: InstanceConfigChange, actor: string): Promise<InstanceConfig>
  /** All that somebody has said something about, by id. */
  list(): Promise<readonly InstanceConfig[]>
}

/** Changes of one target at the same moment are made one after the other; nobody makes this many. */
const ATTEMPTS = 10

export function createInstanceConfigs(db: Kysely<Schema>, clock: Clock): InstanceConfigs {
  async function keyOf(id: string): Promise<string> {
    const instance = await db
      .selectFrom('instances')
      .select('agent_id')
      .where('id', '=', id)
      .executeTakeFirst()
    return instance?.agent_id ?? id
  }

  async function stored(id: string): Promise<{ key: string; row: InstanceConfigRow | undefined }> {
    const key = await keyOf(id)
    const rows = await db
      .selectFrom('instance_config')
      .selectAll()
      .where('instance_id', 'in', [key, id])
      .execute()
    // What was said of an instance before it had joined its agent holds until something is said of the agent.
    return { key, row: rows.find(({ instance_id: at }) => at === key) ?? rows[0] }
  }

  /** Undefined: somebody else was faster. */
  async function tryPut(
    id: string,
    change: InstanceConfigChange,
    actor: string,
  ): Promise<InstanceConfig | undefined> {
    const { key, row } = await stored(id)
    const said = row ? toConfig(row) : defaultInstanceConfig(key)
    const account = await accountOf(db, key)
    assertNotOtherwise(key, change, account)
    const now = clock.now()
    const before = withAccount({ ...said, id: key }, account)
    const next = { ...withChange(before, change), updatedAt: now, updatedBy: actor }
    const own = change.accountEnvironment ?? said.accountEnvironment
    const values = { ...toRow({ ...next, accountEnvironment: own }), updated_at: now, updated_by: actor }
    if (row?.instance_id === key) {
      const { numUpdatedRows } = await db
        .updateTable('instance_config')
        .set({ ...values, revision: row.revision + 1 })
        .where('instance_id', '=', key)
        .where('revision', '=', row.revision)
        .executeTakeFirst()
      return numUpdatedRows === 1n ? next : undefined
    }
    const { numInsertedOrUpdatedRows } = await db
      .insertInto('instance_config')
      .values({ ...values, instance_id: key, revision: 1, created_at: now })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    return numInsertedOrUpdatedRows === 1n ? next : undefined
  }

  return {
    async get(id) {
      const { key, row } = await stored(id)
      const config = row ? { ...toConfig(row), id: key } : defaultInstanceConfig(key)
      return withAccount(config, await accountOf(db, key))
    },
    async put(id, change, actor) {
      if (!AGENT_ID_PATTERN.test(id))
        throw new AppError('input_invalid', `${JSON.stringify(id)} is no id of an agent or instance`, {
          hint: 'Ids are 1 to 63 letters, digits, dots, dashes and underscores.',
        })
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const put = await tryPut(id, change, actor)
        if (put) return put
      }
      throw new AppError('conflict', `others change the configuration of ${id} at the same time`, {
        hint: 'Look at it again, and make the change anew.',
        retryable: true,
      })
    },
    async list() {
      const rows = await db.selectFrom('instance_config').selectAll().orderBy('instance_id').execute()
      const accounts = await accountsOfAll(db)
      return rows.map((row) => withAccount(toConfig(row), accounts.get(row.instance_id)))
    },
  }
}

/** What is said of an account holds for all that runs in it. */
const withAccount = (config: InstanceConfig, account: AccountOf | undefined): InstanceConfig =>
  inForce(account ? { ...config, accountEnvironment: account.environment } : config)

/** @throws AppError `conflict` */
function assertNotOtherwise(
  id: string,
  { accountEnvironment }: InstanceConfigChange,
  account: AccountOf | undefined,
): void {
  if (!account || accountEnvironment === undefined || accountEnvironment === account.environment) return
  throw new AppError(
    'conflict',
    `${id} runs in the account ${account.account}, which is ${account.environment}`,
    {
      hint: `What is said of an account holds for all that runs in it: PUT /api/accounts/${account.account} changes it.`,
    },
  )
}

const toConfig = (row: InstanceConfigRow): InstanceConfig => ({
  id: row.instance_id,
  enabled: row.enabled === 1,
  pipelineMode: row.pipeline_mode as PipelineMode,
  actuator: row.actuator as ActuatorName | null,
  level: row.actuator_level as ActuatorLevel,
  modelId: row.assigned_model_id,
  binPacking: row.enable_bin_packing === 1,
  rightSizing: row.enable_right_sizing === 1,
  familyStress: row.enable_family_stress === 1,
  accountEnvironment: row.account_environment as AccountEnvironment,
  updatedAt: instant(row.updated_at),
  updatedBy: row.updated_by,
})

const toRow = (config: InstanceConfig) => ({
  enabled: config.enabled ? 1 : 0,
  pipeline_mode: config.pipelineMode,
  actuator: config.actuator,
  actuator_level: config.level,
  assigned_model_id: config.modelId,
  enable_bin_packing: config.binPacking ? 1 : 0,
  enable_right_sizing: config.rightSizing ? 1 : 0,
  enable_family_stress: config.familyStress ? 1 : 0,
  account_environment: config.accountEnvironment,
})
