import { AppError } from '@understudy/shared/core/app-error'
import { agentId } from '@understudy/shared/core/ids'
import { hours, systemClock } from '@understudy/shared/core/time'
import { agentIdSchema, instanceIdSchema } from '@understudy/shared/protocol/primitives'
import { type Invocation, numberFlag } from '../command-line.ts'
import { databasePlace } from '../config/database-place.ts'
import { loadConfig } from '../config/load.ts'
import { createFleetStore } from '../fleet/fleet.ts'
import { createAudit, createTokens, roles } from '../http/http.ts'
import { openDatabase } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'

type Print = (text: string) => number

/** Works on the database itself, so that the first token can be made before anybody may call the API. */
export async function token(invocation: Invocation, print: Print): Promise<number> {
  const { configFile, settings, words } = invocation
  const config = loadConfig(configFile, settings, process.env)
  const database = await openDatabase(databasePlace(config))
  try {
    await migrate(database.db)
    const { db } = database
    const ports = {
      tokens: createTokens(db, systemClock),
      audit: createAudit(db, systemClock),
      fleet: createFleetStore(db, systemClock),
      print,
    }
    const [verb] = words
    switch (verb) {
      case 'create':
        return await create(invocation, ports)
      case 'join':
        return await join(invocation, ports)
      case 'list':
        return await list(invocation, ports)
      case 'revoke':
        return await revoke(invocation, ports)
      default:
        throw new AppError('input_invalid', `token what? "${verb ?? ''}" is not create, join, list or revoke`)
    }
  } finally {
    await database.close()
  }
}

interface Ports {
  readonly tokens: ReturnType<typeof createTokens>
  readonly audit: ReturnType<typeof createAudit>
  readonly fleet: ReturnType<typeof createFleetStore>
  readonly print: Print
}

async function create({ own, json }: Invocation, { tokens, audit, print }: Ports): Promise<number> {
  const name = required(own.name, 'name')
  const role = roles.find((known) => known === own.role)
  if (!role)
    throw new AppError(
      'input_invalid',
      `--role is "${String(own.role ?? '')}": it must be ${roles.join(', ')}`,
    )
  const days = numberFlag(own.days, 'days', 1, 3650)
  const secret = await tokens.createOperator(name, role, days === undefined ? undefined : hours(days * 24))
  await audit.record({ actor: 'command line', action: 'token.create', object: name, after: { role, days } })
  if (json) return print(`${JSON.stringify({ schema: 'understudy.token/v1', name, role, token: secret })}\n`)
  return print(`${secret}\n`)
}

async function join({ own, json }: Invocation, { tokens, audit, fleet, print }: Ports): Promise<number> {
  const id = checked(agentIdSchema.safeParse(required(own.agent, 'agent')), 'agent')
  const instance = own.instance
  const instanceId = instance === undefined ? null : checked(instanceIdSchema.safeParse(instance), 'instance')
  const name = typeof own.name === 'string' ? own.name : id
  await fleet.ensureAgent({ id: agentId(id), name, clientId: 'default' })
  const secret = await tokens.createJoin({ agentId: id, replicaId: null, instanceId }, hours(1))
  await audit.record({ actor: 'command line', action: 'token.join', object: id, after: { instanceId } })
  if (json)
    return print(
      `${JSON.stringify({ schema: 'understudy.join-token/v1', agent_id: id, join_token: secret })}\n`,
    )
  return print(`${secret}\n`)
}

async function list({ json }: Invocation, { tokens, print }: Ports): Promise<number> {
  const rows = (await tokens.list()).map(({ id, name, role, created_at, expires_at, revoked_at }) => ({
    id,
    name,
    role,
    created_at: new Date(created_at).toISOString(),
    expires_at: expires_at === null ? null : new Date(expires_at).toISOString(),
    revoked: revoked_at !== null,
  }))
  if (json) return print(`${JSON.stringify({ schema: 'understudy.tokens/v1', items: rows })}\n`)
  const lines = rows.map(
    ({ id, name, role, expires_at, revoked }) =>
      `${id}  ${String(role).padEnd(8)}  ${revoked ? 'revoked' : (expires_at ?? 'no end')}  ${name}`,
  )
  return print(lines.length === 0 ? 'no tokens\n' : `${lines.join('\n')}\n`)
}

async function revoke({ words }: Invocation, { tokens, audit, print }: Ports): Promise<number> {
  const id = required(words[1], 'id')
  if (!(await tokens.revoke(id)))
    throw new AppError('not_found', `there is no valid token ${id}`, {
      hint: 'coordinator token list shows them.',
    })
  await audit.record({ actor: 'command line', action: 'token.revoke', object: id })
  return print(`revoked ${id}\n`)
}

function required(value: string | boolean | undefined, name: string): string {
  if (typeof value === 'string' && value !== '') return value
  throw new AppError('input_invalid', `--${name} is missing`, { hint: 'coordinator --help shows how.' })
}

function checked<T>(
  parsed: { success: true; data: T } | { success: false; error: { issues: { message: string }[] } },
  name: string,
): T {
  if (parsed.success) return parsed.data
  throw new AppError('input_invalid', `--${name}: ${parsed.error.issues[0]?.message ?? 'not valid'}`)
}
