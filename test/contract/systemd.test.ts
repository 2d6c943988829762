import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { parseInvocation } from '../../coordinator/src/command-line.ts'
import { environmentOf } from '../../coordinator/src/config/environment.ts'
import { coordinatorOptions } from '../../coordinator/src/config/options.ts'
import { AGENT_MALLOC, AGENT_NODE_FLAGS } from '../../coordinator/src/demo/agent-runtime.ts'
import { resolveOptions } from '../../shared/src/core/options.ts'

const unit = (name: string): string =>
  readFileSync(
    fileURLToPath(new URL(`../../deploy/systemd/understudy-${name}.service`, import.meta.url)),
    'utf8',
  )

const scratch = mkdtempSync(join(tmpdir(), 'understudy-units-'))
afterAll(() => rmSync(scratch, { recursive: true }))

test('what is measured in the demo is started as systemd starts it', () => {
  expect(unit('agent')).toContain(`/usr/bin/node ${AGENT_NODE_FLAGS.join(' ')} /opt/understudy/agent.js`)
  const malloc = Object.entries(AGENT_MALLOC).map(([name, value]) => `${name}=${value}`)
  expect(unit('agent')).toContain(`Environment=${malloc.join(' ')}\n`)
})

test('a stop is told to the agent alone, and whatever is left of its unit ends with it', () => {
  expect(unit('agent')).toMatch(/^KillMode=mixed$/m)
  expect(unit('agent')).not.toMatch(/^SendSIGKILL=/m)
})

test('an installed coordinator runs cycles of decisions unless it is told not to', () => {
  const [, line = ''] = /^ExecStart=\/usr\/bin\/node \S+ (.*)$/m.exec(unit('coordinator')) ?? []
  const invocation = parseInvocation(line.split(' '))
  if (typeof invocation === 'string') throw new Error(invocation)
  const environment = (env: Record<string, string>, file: Record<string, unknown>) =>
    environmentOf(
      resolveOptions(coordinatorOptions, { flags: invocation.settings, env, file, readSecret: () => '' })
        .values,
    )
  expect(invocation.command).toBe('serve')
  expect(environment({}, {})).toBe('PROD')
  expect(environment({ ENV: 'TEST' }, {})).toBe('TEST')
  expect(environment({}, { environment: 'TEST' })).toBe('TEST')
})

const analyze = spawnSync('systemd-analyze', ['--version'])

test.each(['agent', 'coordinator'])('systemd takes the unit of the %s as it is', (name) => {
  if (analyze.error) {
    console.log('skipped: systemd-analyze is not on this machine')
    return
  }
  const file = join(scratch, `understudy-${name}.service`)
  // It insists that the program is there.
  writeFileSync(file, unit(name).replaceAll('/usr/bin/node', process.execPath))
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--recursive-errors=no', file], {
    encoding: 'utf8',
  })
  expect(stderr.split('\n').filter((line) => line.includes(`understudy-${name}`))).toEqual([])
  expect(status).toBe(0)
})
