import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { describe, expect, it } from 'vitest'
import type { SessionAnswer } from './calls.ts'
import type { Answer } from './http.ts'
import { Session } from './session.svelte.ts'

const ok = (body: SessionAnswer): Answer<SessionAnswer> => ({ ok: true, status: 200, body })
const silence: Answer<never> = {
  ok: false,
  kind: 'unknown',
  status: undefined,
  title: 'No answer',
  detail: 'the coordinator could not be reached',
  hint: undefined,
  code: undefined,
  facts: {},
}

function sessionWith(...answers: Answer<SessionAnswer>[]) {
  const time = createVirtualTime()
  const next = async () => answers.shift() ?? silence
  const calls = {
    session: next,
    signIn: next,
    signOut: async () => ({ ok: true, status: 204, body: undefined }) as const,
  }
  return { session: new Session(calls, time.clock), time }
}

describe('the session', () => {
  it('asks until somebody answers', async () => {
    const { session, time } = sessionWith(
      silence,
      silence,
      ok({ needs_login: false, name: 'demo', role: 'admin' }),
    )
    await session.ask()
    expect(session.state.kind).toBe('unreachable')
    await time.advance(4000)
    expect(session.state).toMatchObject({ kind: 'signed-in', name: 'demo' })
    expect(time.pending()).toBe(0)
  })

  it('stays signed in while nobody answers', async () => {
    const { session } = sessionWith(ok({ needs_login: false, name: 'ann', role: 'operator' }), silence)
    await session.ask()
    await session.ask()
    expect(session.state.kind).toBe('signed-in')
    expect(session.blocked).toBeUndefined()
  })

  it('asks for a token where one is needed, and says what is wrong with it', async () => {
    const { session } = sessionWith(ok({ needs_login: true }), { ...silence, kind: 'refused', status: 401 })
    await session.ask()
    expect(session.state.kind).toBe('needs-login')
    expect(await session.signIn('us_wrong')).toMatchObject({ kind: 'refused' })
    expect(session.state.kind).toBe('needs-login')
  })

  it('a viewer may change nothing, and is told so', async () => {
    const { session } = sessionWith(ok({ needs_login: false, name: 'eve', role: 'viewer' }))
    await session.ask()
    expect(session.blocked).toContain('viewer')
  })

  it('ends', async () => {
    const { session } = sessionWith(ok({ needs_login: false, name: 'ann', role: 'operator' }))
    await session.ask()
    await session.signOut()
    expect(session.state.kind).toBe('needs-login')
  })
})
