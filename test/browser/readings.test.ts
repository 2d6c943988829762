import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import { testModel, uploadForm } from '../../coordinator/src/models/testing.ts'
import { type Bench, startBench } from '../contract/bench.ts'
import { launchBrowser } from './chromium.ts'
import { type ToldReadings, tellReadings } from './told-readings.ts'

/** Pages that are open show what others change, without asking for it; and say when they cannot. */

const PATIENT = { timeout: 40_000 }

let bench: Bench
let browser: Browser
let page: Page
let readings: ToldReadings
/** What the page has asked by HTTP. */
const asked: string[] = []
const complaints: string[] = []

beforeAll(async () => {
  bench = await startBench({ mode: 'demo' })
  for (const version of ['1.0.0', '2.0.0']) await upload(version)
  browser = await launchBrowser(inject('chromium'))
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  context.setDefaultTimeout(20_000)
  page = await context.newPage()
  page.on('request', (request) => {
    const { pathname } = new URL(request.url())
    if (pathname.startsWith('/api/')) asked.push(`${request.method()} ${pathname}`)
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  readings = await tellReadings(page)
  await page.goto(`${bench.url}/#/models`)
  await page.getByRole('heading', { name: 'Versions' }).waitFor()
}, 180_000)
afterAll(async () => {
  await browser?.close()
  await bench?.close()
})
afterEach(() => expect(complaints.splice(0)).toEqual([]))

async function upload(version: string): Promise<void> {
  const response = await fetch(`${bench.url}/api/v1/ml/models/upload`, {
    method: 'POST',
    body: uploadForm(testModel({ version, bias: Number.parseInt(version, 10) })),
  })
  expect(response.status, await response.text()).toBe(201)
}

const go = async (hash: string, title: string) => {
  await page.evaluate(`location.hash = ${JSON.stringify(hash)}`)
  await page.getByRole('heading', { name: title, level: 1 }).waitFor()
}
/** Returns its id. */
const activate = async (version: string): Promise<string> => {
  const { items } = (await bench.call('GET', '/api/v1/ml/models/list')).body
  const { model_id: id } = items.find((one: { version: string }) => one.version === version)
  expect((await bench.call('POST', '/api/v1/ml/models/activate', { model_id: id })).status).toBe(200)
  return id
}
const saysThatCounts = (version: string) =>
  page
    .locator('header')
    .getByText(new RegExp(` ${version}$`))
    .waitFor()

test('a model that somebody activates counts on a page that is open, which asks nothing', async () => {
  await page.getByText('No model counts').waitFor()
  asked.length = 0
  const id = await activate('1.0.0')
  await saysThatCounts('1.0.0')
  await page.getByRole('region', { name: 'Ledger' }).getByRole('link', { name: id }).waitFor()
  await activate('2.0.0')
  await saysThatCounts('2.0.0')
  expect([asked, readings.connections]).toEqual([[], 1])
})

test('what somebody changes is in the log of changes at once, and an engine is shown as it is set', async () => {
  await go('#/settings', 'Settings')
  const changes = page.getByRole('region', { name: 'Changes' })
  await changes.getByText('model.activate').first().waitFor()
  asked.length = 0
  const engine = { engine_id: 'spot_optimizer_v1', config: { ranking: 'seed-v1' } }
  expect((await bench.call('POST', '/api/v1/ml/engines/select', engine)).status).toBe(200)
  await changes.getByText('engine.select').first().waitFor()
  await go('#/engines', 'Engines')
  await page
    .getByRole('region', { name: /how it is set/ })
    .getByText(/seed-v1/)
    .first()
    .waitFor()
  await bench.call('POST', '/api/v1/ml/engines/select', { ...engine, config: {} })
  const inForce = page
    .getByRole('region', { name: /how it is set/ })
    .locator('dd')
    .first()
  await expect.poll(() => inForce.textContent(), PATIENT).not.toContain('seed-v1')
  expect(asked).toEqual([])
})

test('a page whose readings do not come says so, lets nothing be done, and comes back by itself', {
  timeout: 120_000,
}, async () => {
  await go('#/models', 'Models')
  const fallBack = page
    .getByRole('button', { name: /^Fall back to/ })
    .or(page.getByRole('button', { name: /^Activate/ }))
    .first()
  await fallBack.waitFor()
  expect(await page.locator('main').getAttribute('data-stale')).toBeNull()
  readings.cut()
  await page.getByText('What this page reads does not come any more').waitFor({ timeout: 40_000 })
  expect(await page.locator('main').getAttribute('data-stale')).toBe('true')
  await expect
    .poll(() => fallBack.getAttribute('title'), PATIENT)
    .toBe('Not live: what is shown is too old to act on.')
  await fallBack.click({ force: true })
  expect(await page.getByRole('dialog').count()).toBe(0)
  // Meanwhile something happens that nobody tells the page.
  await activate('1.0.0')
  await saysThatCounts('2.0.0')
  readings.mend()
  await page
    .getByText('What this page reads does not come any more')
    .waitFor({ state: 'detached', timeout: 60_000 })
  await saysThatCounts('1.0.0')
  expect(await page.locator('main').getAttribute('data-stale')).toBeNull()
  expect(readings.accepted).toBe(2)
})

test('a page whose session has ended leads to the sign-in page by itself', { timeout: 90_000 }, async () => {
  const serving = await startBench()
  const context = await browser.newContext()
  try {
    const mine = await context.newPage()
    await mine.goto(`${serving.url}/#/incidents`)
    await mine.getByLabel('Token').fill(serving.adminToken)
    await mine.keyboard.press('Enter')
    await mine.getByRole('heading', { name: 'Incidents', level: 1 }).waitFor()
    const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ')
    const headers = { authorization: '', cookie, 'content-type': 'application/json' }
    expect((await serving.call('DELETE', '/api/session', {}, headers)).status).toBe(204)
    await mine.getByRole('heading', { name: 'Sign in' }).waitFor({ timeout: 40_000 })
  } finally {
    await context.close()
    await serving.close()
  }
})
