import { AppError } from '@understudy/shared/core/app-error'
import type { Context, MiddlewareHandler } from 'hono'
import { getCookie } from 'hono/cookie'
import type { AppEnv } from './env.ts'
import type { Principal, Role, Tokens } from './tokens.ts'

export const SESSION_COOKIE = 'understudy_session'

/** How callers are told apart. */
export interface AuthMode {
  /** Everybody may do everything; only on loopback, in the demo. Agents still need their credentials. */
  readonly open: boolean
  readonly tokens: Tokens
  readonly agents: AgentCredentials
}

/** Looks up the credential of an enrolled instance. */
export interface AgentCredentials {
  find(credential: string): Promise<{ agentId: string; instanceId: string } | undefined>
}

const rank: Readonly<Record<Role, number>> = { viewer: 0, operator: 1, admin: 2 }

/** Finds out who is calling; it does not say what they may do. */
export function authenticate(mode: AuthMode): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const shown = shownBy(c)
    const principal = await principalOf(shown, mode)
    if (principal) c.set('principal', principal)
    c.set('whoNow', () => principalOf(shown, mode))
    await next()
  }
}

/** By what a caller wants to be known. */
interface Shown {
  readonly token: string | undefined
  readonly session: string | undefined
}

function shownBy(c: Context<AppEnv>): Shown {
  const header = c.req.header('authorization')
  return {
    token: header?.startsWith('Bearer ') ? header.slice(7) : undefined,
    session: getCookie(c, SESSION_COOKIE),
  }
}

async function principalOf({ token, session }: Shown, mode: AuthMode): Promise<Principal | undefined> {
  if (token?.startsWith('uc_')) {
    const agent = await mode.agents.find(token)
    return agent && { kind: 'agent', ...agent }
  }
  if (mode.open) return { kind: 'operator', name: 'demo', role: 'admin', viaCookie: false }
  if (token !== undefined) {
    const operator = await mode.tokens.findOperator(token)
    return operator && { kind: 'operator', ...operator, viaCookie: false }
  }
  const operator = session ? await mode.tokens.findSession(session) : undefined
  return operator && { kind: 'operator', ...operator, viaCookie: true }
}

/** Lets through who has at least `role`. */
export function requireRole(role: Role): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    assertRole(c.get('principal'), role)
    await next()
  }
}

/** Lets through operators, or who has at least `role`, and the agent that the path names. */
export function requireOperatorOrAgent(
  c: Context<AppEnv>,
  agentId: string,
  role: Role = 'operator',
): Principal {
  const principal = c.get('principal')
  if (principal?.kind === 'agent') {
    if (principal.agentId === agentId) return principal
    throw new AppError('forbidden', `this credential is for ${principal.agentId}, not for ${agentId}`)
  }
  assertRole(principal, role)
  return principal
}

/** @throws AppError `unauthenticated`, `forbidden` */
export function assertRole(
  principal: Principal | undefined,
  role: Role,
): asserts principal is Principal & { kind: 'operator' } {
  if (!principal)
    throw new AppError('unauthenticated', 'this call needs a token', {
      hint: 'Send `Authorization: Bearer <token>`; create one with `coordinator token create --role operator`.',
    })
  if (principal.kind !== 'operator' || rank[principal.role] < rank[role])
    throw new AppError('forbidden', `this call needs the role ${role}`, {
      hint: `Use a token with that role: coordinator token create --role ${role}`,
    })
}

/** The name that goes into the audit log. */
export const actorOf = (principal: Principal | undefined): string =>
  principal === undefined
    ? 'nobody'
    : principal.kind === 'agent'
      ? `agent ${principal.agentId} on ${principal.instanceId}`
      : principal.name
