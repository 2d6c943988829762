import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { Hono } from 'hono'
import { afterAll, expect, test } from 'vitest'
import type { AppEnv } from './env.ts'
import { createStaticFiles } from './static-files.ts'

const directory = mkdtempSync(join(tmpdir(), 'understudy-static-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const script = 'const a = 1\n'.repeat(100)
mkdirSync(join(directory, 'assets'))
writeFileSync(join(directory, 'index.html'), '<script>theme()</script><p>page</p>'.repeat(20))
writeFileSync(join(directory, 'assets', 'index-1.js'), script)
writeFileSync(join(directory, 'assets', 'tiny-1.js'), 'a')

const files = createStaticFiles(directory)
const app = new Hono<AppEnv>().get('*', (c) => files?.(c) ?? c.text('nothing', 404))
const get = (path: string, headers: Record<string, string> = {}) => app.request(path, { headers })

test('a file comes compressed to whoever takes that, and plain to everybody else', async () => {
  for (const accepted of ['gzip', 'br, gzip;q=0.5', 'deflate , gzip ']) {
    const zipped = await get('/assets/index-1.js', { 'accept-encoding': accepted })
    expect(zipped.headers.get('content-encoding')).toBe('gzip')
    const bytes = Buffer.from(await zipped.arrayBuffer())
    expect(bytes.byteLength).toBeLessThan(script.length / 2)
    expect(gunzipSync(bytes).toString()).toBe(script)
  }
  for (const accepted of ['', 'br', 'gzip;q=0', 'gzip; q=0.0', 'x-gzip']) {
    const plain = await get('/assets/index-1.js', { 'accept-encoding': accepted })
    expect([accepted, plain.headers.get('content-encoding')]).toEqual([accepted, null])
    expect(await plain.text()).toBe(script)
  }
})

test('what is not smaller compressed stays as it is', async () => {
  const tiny = await get('/assets/tiny-1.js', { 'accept-encoding': 'gzip' })
  expect(tiny.headers.get('content-encoding')).toBeNull()
  expect(await tiny.text()).toBe('a')
})

test('each form has a mark of its own, by which it is not sent twice', async () => {
  const plain = (await get('/')).headers.get('etag') ?? ''
  const zipped = (await get('/', { 'accept-encoding': 'gzip' })).headers.get('etag') ?? ''
  expect(plain).not.toBe(zipped)
  const again = (mark: string, accepted: string) =>
    get('/', { 'if-none-match': mark, 'accept-encoding': accepted })
  expect((await again(zipped, 'gzip')).status).toBe(304)
  expect((await again(plain, '')).status).toBe(304)
  expect((await again(plain, 'gzip')).status).toBe(200)
})

test('only the script of the page itself may run, by its hash', async () => {
  const policy = (await get('/')).headers.get('content-security-policy') ?? ''
  expect(policy).toMatch(/script-src 'self' 'sha256-[\w+/=]{44}'/)
  expect(policy).toContain("style-src 'self'")
  expect(policy).not.toContain('unsafe')
})
