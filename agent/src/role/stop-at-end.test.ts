import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { Hooks } from './hooks.ts'
import { stopAtEnd } from './stop-at-end.ts'

const facts = { agent: 'one', instance: 'i-one', epoch: 1 }
const gone = { ok: false, why: 'freeze hook: it ended with status 1', output: '' }
const done = { ok: true, output: '' }

/** Hooks of which those in `failing` fail, and what was run. */
function hooksThatFail(...failing: string[]) {
  const ran: string[] = []
  const outcome = (name: string) => {
    ran.push(name)
    return Promise.resolve(failing.includes(name) ? gone : done)
  }
  const hooks: Hooks = { run: (hook) => outcome(hook), kill: () => outcome('kill') }
  const ending = new AbortController()
  const { run } = stopAtEnd(hooks, ending.signal, pino({ level: 'silent' }))
  return { ran, end: () => ending.abort(), run, signal: new AbortController().signal }
}

test('an agent that is to end stops a workload that cannot be frozen, and counts it as still', async () => {
  const { run, ran, end, signal } = hooksThatFail('freeze')
  end()
  expect(await run('freeze', facts, signal)).toEqual({
    ok: true,
    why: 'freeze hook: it ended with status 1; it was stopped instead',
    output: '',
  })
  expect(ran).toEqual(['freeze', 'stop'])
})

test('what does not stop either is killed', async () => {
  const { run, ran, end, signal } = hooksThatFail('freeze', 'stop')
  end()
  expect(await run('freeze', facts, signal)).toMatchObject({ ok: true })
  expect(ran).toEqual(['freeze', 'stop', 'kill'])
})

test('an agent that goes on stops nothing, and no other hook is followed by anything', async () => {
  const { run, ran, end, signal } = hooksThatFail('freeze', 'thaw')
  expect(await run('freeze', facts, signal)).toEqual(gone)
  end()
  expect(await run('thaw', facts, signal)).toEqual(gone)
  expect(ran).toEqual(['freeze', 'thaw'])
})

test('a freeze that was called off is followed by nothing', async () => {
  const { run, ran, end } = hooksThatFail('freeze')
  end()
  expect(await run('freeze', facts, AbortSignal.abort())).toEqual(gone)
  expect(ran).toEqual(['freeze'])
})
