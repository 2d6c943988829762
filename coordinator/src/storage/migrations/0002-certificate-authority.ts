import type { Kysely } from 'kysely'

export const certificateAuthority = { up }

async function up({ schema }: Kysely<unknown>): Promise<void> {
  await schema
    .createTable('certificate_authorities')
    .addColumn('id', 'integer', (c) => c.primaryKey())
    .addColumn('certificate', 'text', (c) => c.notNull())
    .addColumn('private_key', 'text', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .execute()
}
