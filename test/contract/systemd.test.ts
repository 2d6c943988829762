import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { AGENT_MALLOC, AGENT_NODE_FLAGS } from '../../coordinator/src/demo/agent-runtime.ts'

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
