import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseInvocation } from '../command-line.ts'
import { notify } from './notify.ts'

let directory = ''
let server: ReturnType<typeof createServer>
let url = ''
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'understudy-notify-'))
  server = createServer((request, response) => {
    response.writeHead(request.url === '/good' ? 200 : 500).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(() => {
  server.closeAllConnections()
  server.close()
  rmSync(directory, { recursive: true, force: true })
})

async function run(text: string, ...words: string[]) {
  const file = join(directory, 'notify.yaml')
  writeFileSync(file, text)
  const invocation = parseInvocation(['notify', 'test', ...words, '--notifications', file])
  if (typeof invocation === 'string') throw new Error(invocation)
  let out = ''
  const code = await notify(invocation, (part) => {
    out += part
    return 0
  })
  return { code, out }
}
const receiver = (name: string) =>
  `  - { name: ${name}, kind: webhook, format: slack, allow_local: true, url: '${url}/${name}' }\n`

test('everybody gets a message, and who does not fails the command', async () => {
  expect(await run(`receivers:\n${receiver('good')}`)).toEqual({
    code: 0,
    out: expect.stringMatching(/^good +ok\n$/),
  })
  const both = await run(`receivers:\n${receiver('good')}${receiver('bad')}`)
  expect(both).toEqual({ code: 1, out: expect.stringMatching(/^good +ok\nbad +FAILED it answers 500\n$/) })
  expect(await run(`receivers:\n${receiver('good')}${receiver('bad')}`, 'good')).toMatchObject({ code: 0 })
  const json = await run(`receivers:\n${receiver('bad')}`, '--json')
  expect(JSON.parse(json.out)).toMatchObject({
    schema: 'understudy.notify-test/v1',
    items: [{ receiver: 'bad', ok: false, status: 500 }],
  })
})

test('what is asked for and is not there is said', async () => {
  await expect(run('receivers: []')).rejects.toMatchObject({ code: 'config_invalid' })
  await expect(run(`receivers:\n${receiver('good')}`, 'bad')).rejects.toMatchObject({
    code: 'not_found',
    hint: 'There are: good',
  })
  await expect(run('receivers: [', 'x')).rejects.toMatchObject({ code: 'config_invalid' })
})
