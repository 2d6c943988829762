import { createHash, randomBytes, randomUUID, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { AppError } from '@understudy/shared/core/app-error'
import { type Clock, type Instant, type Millis, minutes, plus } from '@understudy/shared/core/time'
import type { Kysely, Schema, TokenRow } from '../storage/database.ts'

const scryptAsync = promisify(scrypt)
const KEY_BYTES = 32
/** A secret that was made or right is remembered this long, so that a page does not pay for scrypt at every request. */
const REMEMBER: Millis = 60_000 as Millis
const REMEMBERED = 1000

export const roles = ['viewer', 'operator', 'admin'] as const
export type Role = (typeof roles)[number]

/** Who is calling. */
export type Principal =
  | { readonly kind: 'operator'; readonly name: string; readonly role: Role; readonly viaCookie: boolean }
  | { readonly kind: 'agent'; readonly agentId: string; readonly instanceId: string }

export interface JoinToken {
  readonly id: string
  readonly agentId: string
  readonly replicaId: string | null
  /** The only instance that may use it, where one was named. */
  readonly instanceId: string | null
}

/**
 * Tokens of operators, sessions of the dashboard, and one-time join tokens. A token is `us_<id>_<secret>` with 256
 * random bits of secret; only a scrypt hash is kept, and it is shown once.
 */
export interface Tokens {
  createOperator(name: string, role: Role, lifetime: Millis | undefined): Promise<string>
  createJoin(token: Omit<JoinToken, 'id'>, lifetime: Millis): Promise<string>
  /** undefined for anything that is not a valid operator token. */
  findOperator(token: string): Promise<{ name: string; role: Role } | undefined>
  /** It ends with the token at the latest. undefined for anything that is not a valid operator token. */
  createSession(
    token: string,
    lifetime: Millis,
  ): Promise<{ session: string; name: string; role: Role } | undefined>
  findSession(session: string): Promise<{ name: string; role: Role } | undefined>
  endSession(session: string): Promise<void>
  /**
   * Uses a join token up. An instance that has just come in by it may ask again: the answer with its credential may have been lost.
   * @throws AppError `unauthenticated` when it is not one, was used or has ended
   */
  useJoin(token: string, instanceId: string): Promise<JoinToken>
  /** Operators' tokens, without their secrets. */
  list(): Promise<readonly TokenRow[]>
  revoke(id: string): Promise<boolean>
  /** True once there is a token that lets somebody in. */
  anyOperator(): Promise<boolean>
}

/** From the use of a join token to the entry of its instance. */
const ENROLS_WITHIN = minutes(1)
/** For so long an instance whose answer was lost may come with the same token. */
const ASKS_AGAIN_WITHIN = minutes(10)

export function createTokens(db: Kysely<Schema>, clock: Clock): Tokens {
  /** Tokens whose secret was right. Whether they are still valid is for the database to say, at every request. */
  const remembered = new Map<string, Instant>()

  async function insert(
    row: Pick<TokenRow, 'kind' | 'name'> & Partial<TokenRow>,
    lifetime: Millis | undefined,
  ): Promise<string> {
    const id = randomUUID().replaceAll('-', '').slice(0, 16)
    const secret = randomBytes(32).toString('base64url')
    const salt = randomBytes(16).toString('base64url')
    const hash = await hashOf(secret, salt)
    await db
      .insertInto('api_tokens')
      .values({
        id,
        role: null,
        agent_id: null,
        instance_id: null,
        replica_id: null,
        made_from: null,
        salt,
        hash,
        created_at: clock.now(),
        expires_at: lifetime === undefined ? null : plus(clock.now(), lifetime),
        used_at: null,
        revoked_at: null,
        ...row,
      })
      .execute()
    // Most are used right away, as by an instance that has been launched.
    remember(id, secret)
    return `us_${id}_${secret}`
  }

  const keyOf = (id: string, secret: string) =>
    createHash('sha256').update(`${id} ${secret}`).digest('base64')

  function remember(id: string, secret: string): void {
    if (remembered.size >= REMEMBERED) remembered.clear()
    remembered.set(keyOf(id, secret), plus(clock.now(), REMEMBER))
  }

  /** Whether the instance has come in by this token just now, and did not get the answer in which its credential was. */
  async function wasUsedBy(tokenId: string, instanceId: string): Promise<boolean> {
    const token = await db
      .selectFrom('api_tokens')
      .select(['agent_id', 'used_at'])
      .where('id', '=', tokenId)
      .executeTakeFirstOrThrow()
    const instance = await db
      .selectFrom('instances')
      .select(['agent_id', 'enrolled_at'])
      .where('id', '=', instanceId)
      .executeTakeFirst()
    const { agent_id: agent, used_at: usedAt } = token
    if (!instance || instance.agent_id !== agent || usedAt === null) return false
    const cameInAt = instance.enrolled_at - usedAt
    return cameInAt >= 0 && cameInAt < ENROLS_WITHIN && clock.now() - usedAt < ASKS_AGAIN_WITHIN
  }

  /** The row of a token that is valid now. */
  async function find(token: string, kind: string): Promise<TokenRow | undefined> {
    const match = /^us_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/.exec(token)
    if (!match?.[1] || !match[2]) return undefined
    const row = await db
      .selectFrom('api_tokens')
      .selectAll()
      .where('id', '=', match[1])
      .where('kind', '=', kind)
      .executeTakeFirst()
    if (!row || isOver(row)) return undefined
    if (row.made_from !== null && !(await isValid(row.made_from))) return undefined
    return (await isSecretOf(row, match[2])) ? row : undefined
  }

  const isOver = ({ expires_at: end, revoked_at: revoked }: Pick<TokenRow, 'expires_at' | 'revoked_at'>) =>
    revoked !== null || (end !== null && end <= clock.now())

  async function isValid(id: string): Promise<boolean> {
    const row = await db
      .selectFrom('api_tokens')
      .select(['expires_at', 'revoked_at'])
      .where('id', '=', id)
      .executeTakeFirst()
    return row !== undefined && !isOver(row)
  }

  async function isSecretOf(row: TokenRow, secret: string): Promise<boolean> {
    if ((remembered.get(keyOf(row.id, secret)) ?? 0) > clock.now()) return true
    const right = timingSafeEqual(Buffer.from(await hashOf(secret, row.salt)), Buffer.from(row.hash))
    if (right) remember(row.id, secret)
    return right
  }

  async function findCaller(token: string, kind: 'operator' | 'session') {
    const row = await find(token, kind)
    return row && { name: row.name, role: asRole(row.role) }
  }

  const revoke = async (id: string): Promise<boolean> => {
    const { numUpdatedRows } = await db
      .updateTable('api_tokens')
      .set({ revoked_at: clock.now() })
      .where('id', '=', id)
      .where('revoked_at', 'is', null)
      .executeTakeFirst()
    return numUpdatedRows > 0n
  }

  return {
    createOperator: (name, role, lifetime) => insert({ kind: 'operator', name, role }, lifetime),
    createJoin: ({ agentId, replicaId, instanceId }, lifetime) =>
      insert(
        {
          kind: 'join',
          name: `join ${agentId}`,
          agent_id: agentId,
          replica_id: replicaId,
          instance_id: instanceId,
        },
        lifetime,
      ),
    findOperator: (token) => findCaller(token, 'operator'),
    async createSession(token, lifetime) {
      const row = await find(token, 'operator')
      if (!row) return undefined
      const { id, name, role } = row
      const session = await insert({ kind: 'session', name, role, made_from: id }, lifetime)
      return { session, name, role: asRole(role) }
    },
    findSession: (session) => findCaller(session, 'session'),
    async endSession(session) {
      const row = await find(session, 'session')
      if (row) await revoke(row.id)
    },
    async useJoin(token, instanceId) {
      const row = await find(token, 'join')
      if (!row || row.agent_id === null)
        throw new AppError('unauthenticated', 'the join token is unknown, or its time is over', {
          hint: 'Create a new one: coordinator token join --agent <id>',
        })
      if (row.instance_id !== null && row.instance_id !== instanceId)
        throw new AppError(
          'unauthenticated',
          `the join token is for ${row.instance_id}, not for ${instanceId}`,
        )
      const { numUpdatedRows } = await db
        .updateTable('api_tokens')
        .set({ used_at: clock.now() })
        .where('id', '=', row.id)
        .where('used_at', 'is', null)
        .executeTakeFirst()
      const isAgain = numUpdatedRows === 0n
      if (isAgain && !(await wasUsedBy(row.id, instanceId)))
        throw new AppError('unauthenticated', 'the join token was used before', {
          hint: 'Every instance needs one of its own: coordinator token join --agent <id>',
        })
      return {
        id: row.id,
        agentId: row.agent_id,
        replicaId: row.replica_id,
        instanceId: isAgain ? instanceId : row.instance_id,
      }
    },
    list: () =>
      db.selectFrom('api_tokens').selectAll().where('kind', '=', 'operator').orderBy('created_at').execute(),
    revoke,
    async anyOperator() {
      const row = await db
        .selectFrom('api_tokens')
        .select('id')
        .where('kind', '=', 'operator')
        .where('revoked_at', 'is', null)
        .executeTakeFirst()
      return row !== undefined
    },
  }
}

async function hashOf(secret: string, salt: string): Promise<string> {
  const key = (await scryptAsync(secret, salt, KEY_BYTES)) as Buffer
  return key.toString('base64url')
}

const asRole = (role: string | null): Role => roles.find((known) => known === role) ?? 'viewer'
