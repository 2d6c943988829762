import type { Clock } from '@understudy/shared/core/time'
import type { AccountEnvironment } from '@understudy/shared/pipeline/instance-config'
import type { AccountView } from '@understudy/shared/protocol/accounts'
import type { AccountRow, Kysely, Schema } from '../storage/database.ts'

/** AWS accounts: what each is for decides whether the Lab may act there. */
export interface Accounts {
  /** Those of which something was said, and those in which an instance runs; by id. */
  list(): Promise<readonly AccountView[]>
  /** Returns what held before, where something did. */
  put(
    id: string,
    change: { readonly name?: string | undefined; readonly environment_type: AccountEnvironment },
    actor: string,
  ): Promise<AccountView | undefined>
}

export function createAccounts(db: Kysely<Schema>, clock: Clock): Accounts {
  const find = (id: string): Promise<AccountRow | undefined> =>
    db.selectFrom('accounts').selectAll().where('id', '=', id).executeTakeFirst()

  async function running(): Promise<Map<string, number>> {
    const rows = await db
      .selectFrom('instances')
      .select((eb) => ['account_id', eb.fn.countAll().as('count')])
      .where('account_id', 'is not', null)
      .where('terminated_at', 'is', null)
      .groupBy('account_id')
      .execute()
    return new Map(rows.map(({ account_id: id, count }) => [id ?? '', Number(count)]))
  }

  return {
    async list() {
      const said = await db.selectFrom('accounts').selectAll().execute()
      const known = new Map(said.map((row) => [row.id, row]))
      const counts = await running()
      const ids = [...new Set([...known.keys(), ...counts.keys()])].sort()
      return ids.map((id) => toView(id, known.get(id), counts.get(id) ?? 0))
    },
    async put(id, { name, environment_type }, actor) {
      const before = await find(id)
      const now = clock.now()
      const said = { name: name ?? before?.name ?? id, environment_type, updated_at: now, updated_by: actor }
      await db
        .insertInto('accounts')
        .values({ id, ...said, created_at: now })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(said))
        .execute()
      return before && toView(id, before, (await running()).get(id) ?? 0)
    },
  }
}

/** The account of a target, and what it is for. */
export interface AccountOf {
  readonly account: string
  readonly environment: AccountEnvironment
}

/** Of an agent it is the account of its primary. Undefined where nobody has said what it is for. */
export async function accountOf(db: Kysely<Schema>, id: string): Promise<AccountOf | undefined> {
  const row = await db
    .selectFrom('instances')
    .innerJoin('accounts', 'accounts.id', 'instances.account_id')
    .select(['accounts.id', 'accounts.environment_type'])
    .where((eb) =>
      eb.or([
        eb('instances.id', '=', id),
        eb('instances.id', '=', eb.selectFrom('agents').select('instance_id').where('agents.id', '=', id)),
      ]),
    )
    .executeTakeFirst()
  return row && toAccount(row)
}

/** The same of all agents and instances of which it is known. */
export async function accountsOfAll(db: Kysely<Schema>): Promise<ReadonlyMap<string, AccountOf>> {
  const rows = await db
    .selectFrom('accounts')
    .innerJoin('instances', 'instances.account_id', 'accounts.id')
    .leftJoin('agents', 'agents.instance_id', 'instances.id')
    .select(['accounts.id', 'accounts.environment_type'])
    .select(['instances.id as instance', 'agents.id as agent'])
    .execute()
  return new Map(
    rows.flatMap((row) =>
      [row.instance, row.agent].flatMap((of) => (of === null ? [] : [[of, toAccount(row)] as const])),
    ),
  )
}

const toAccount = ({ id, environment_type }: Pick<AccountRow, 'id' | 'environment_type'>): AccountOf => ({
  account: id,
  environment: environment_type as AccountEnvironment,
})

const toView = (id: string, row: AccountRow | undefined, instances: number): AccountView => ({
  account_id: id,
  name: row?.name ?? id,
  environment_type: (row?.environment_type ?? null) as AccountEnvironment | null,
  instances,
  updated_at: row ? new Date(row.updated_at).toISOString() : null,
  updated_by: row?.updated_by ?? null,
})
