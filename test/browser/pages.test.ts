import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Json } from '@understudy/shared/core/json-change'
import { engineListSchema, enginePageSchema } from '@understudy/shared/protocol/engines'
import { experimentResultsSchema, experimentSchema } from '@understudy/shared/protocol/experiments'
import { poolListSchema, priceFetchSchema } from '@understudy/shared/protocol/market'
import { manifestSchema } from '@understudy/shared/protocol/model-manifest'
import { modelListSchema } from '@understudy/shared/protocol/models'
import { auditEntrySchema } from '@understudy/shared/protocol/settings'
import type { Browser, Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import { z } from 'zod'
import { findPrograms } from '../../coordinator/src/commands/demo.ts'
import { demoAgents, startFleet } from '../../coordinator/src/demo/fleet-story.ts'
import { variantsOf } from '../../coordinator/src/demo/lab-models.ts'
import { type Rig, startRig } from '../../coordinator/src/demo/rig.ts'
import { launchBrowser } from './chromium.ts'
import { findings } from './looks.ts'
import { problemOf, type ToldReadings, tellReadings } from './told-readings.ts'

/** The pages beside the fleet: one coordinator with one agent and a history of prices, one browser. In this order. */

const [agent] = demoAgents(1).map((one) => ({ ...one, replica: false }))
const HOSTILE = '<img src=x onerror="throw 1">'
const POOL = 'm5.large@us-east-1a'
const refusal = JSON.stringify({
  title: 'The request is not valid',
  detail: 'the body is not as it should be',
  code: 'input_invalid',
  status: 400,
  errors: [{ pointer: '/hypothesis', message: 'too long by a word' }],
})
const PATIENT = { timeout: 15_000 }
const MODEL = fileURLToPath(new URL('../../models/registry/price-instability/1.0.0', import.meta.url))

let rig: Rig
let browser: Browser
let page: Page
/** The readings of the page. */
let told: ToldReadings
/** Is told of incidents. */
const receiver = createServer((_, response) => response.writeHead(204).end())
const directory = mkdtempSync(join(tmpdir(), 'understudy-pages-'))
/** What the browser complained about, on any page. */
const complaints: string[] = []

beforeAll(async () => {
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  const { port } = receiver.address() as AddressInfo
  const notifications = join(directory, 'notify.yaml')
  const where = { url: `http://127.0.0.1:${port}/hook`, allow_local: true }
  const told = { name: 'pager', kind: 'webhook', format: 'slack', ...where }
  writeFileSync(notifications, JSON.stringify({ receivers: [told] }))
  const coordinatorEnv = { UNDERSTUDY_NOTIFICATIONS: notifications }
  rig = await startRig({ seed: 1, programs: findPrograms(), coordinatorEnv })
  browser = await launchBrowser(inject('chromium'))
  if (agent) await startFleet(rig, [agent], 5, () => {})
  await rig.operator.joinToken('agent-hostile', HOSTILE, 'acme')
  await fetchHistory()
  page = await open({ width: 1280 })
})
afterAll(async () => {
  await browser?.close()
  await rig?.close()
  receiver.closeAllConnections()
  receiver.close()
  rmSync(directory, { recursive: true, force: true })
})
afterEach(() => expect(complaints.splice(0)).toEqual([]))

async function open({ width }: { width: number }): Promise<Page> {
  const context = await browser.newContext({ viewport: { width, height: 900 } })
  context.setDefaultTimeout(15_000)
  const opened = await context.newPage()
  opened.on(
    'console',
    (message) =>
      message.type() === 'error' && complaints.push(`${message.text()} (${message.location().url})`),
  )
  opened.on('pageerror', (error) => complaints.push(String(error)))
  opened.on('request', (request) => {
    const { origin } = new URL(request.url())
    if (origin !== rig.coordinator.url) complaints.push(`asked ${origin}`)
  })
  const readings = await tellReadings(opened)
  told ??= readings
  await opened.goto(rig.coordinator.url)
  await opened.getByRole('table', { name: /^Agents/ }).waitFor()
  return opened
}

async function ask<T>(schema: z.ZodType<T>, path: string, body?: unknown): Promise<T> {
  const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const response = await fetch(`${rig.coordinator.url}${path}`, body === undefined ? {} : post)
  return schema.parse(await response.json())
}

/** A second version, so that there is something to compare: the same model with its odds doubled. */
async function uploadAnother(): Promise<void> {
  const manifest = manifestSchema.parse(JSON.parse(readFileSync(`${MODEL}/manifest.json`, 'utf8')))
  const form = new FormData()
  form.append('file', new Blob([new Uint8Array(readFileSync(`${MODEL}/model.onnx`))]), 'model.onnx')
  form.append('manifest', JSON.stringify(variantsOf(manifest).cautious))
  const path = '/api/v1/ml/models/upload'
  const response = await fetch(`${rig.coordinator.url}${path}`, { method: 'POST', body: form })
  expect([response.status, response.ok ? '' : await response.text()]).toEqual([201, ''])
}

async function fetchHistory(): Promise<void> {
  const path = '/api/v1/ml/pricing/fetch'
  const wanted = { instance_types: ['m5.large'], regions: ['us-east-1'], days: 2 }
  let fetched = await ask(priceFetchSchema, path, wanted)
  while (['queued', 'running'].includes(fetched.status)) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    fetched = await ask(priceFetchSchema, `${path}/${fetched.task_id}`)
  }
  expect(fetched).toMatchObject({ status: 'done', error: null })
}

const go = (to: string) =>
  page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: to }).click()
const textOf = async (locator: Locator) =>
  ((await locator.textContent()) ?? '').replaceAll(/\s+/g, ' ').trim()
const focused = (locator: Locator) => locator.and(page.locator(':focus')).isVisible()

test('a page is shown with its title as the next thing that is read, and its figures are those of the API', async () => {
  await go('Pools')
  const title = page.getByRole('heading', { name: 'Pools', level: 1 })
  await title.and(page.locator(':focus')).waitFor()
  const { items } = await ask(poolListSchema, '/api/pools?limit=1000')
  const known = items.filter(({ instance_type: type }) => type === 'm5.large')
  expect(known.length).toBeGreaterThan(2)
  for (const { instance_type: type, availability_zone: zone, spot_price: price } of known) {
    const cell = page.getByRole('link', { name: `${type} ${zone}: $${price?.toFixed(4)} per hour` })
    expect(await textOf(cell)).toContain(price?.toFixed(4))
  }
  const here = page.getByRole('link', {
    name: new RegExp(`^m5.large us-east-1a: .* primary of ${agent?.name} here$`),
  })
  expect(await here.count()).toBe(1)
})

test('a chart is walked by keyboard and says what it shows, and its table has every value', async () => {
  await page.getByRole('link', { name: /^m5.large us-east-1a: / }).click()
  const chart = page.getByRole('slider', { name: /^Spot price of m5.large/ })
  await chart.focus()
  await page.keyboard.press('Home')
  const first = await chart.getAttribute('aria-valuetext')
  await page.keyboard.press('ArrowRight')
  const second = await chart.getAttribute('aria-valuetext')
  expect(first).toMatch(/^m5\.large · us-east-1a, \d{4}-\d\d-\d\d \d\d:\d\d UTC: /)
  expect(second).not.toBe(first)
  await page.getByText('View as table').click()
  const row = page
    .getByRole('table', { name: /the latest first$/ })
    .locator('tbody tr')
    .first()
  await row.waitFor()
  await page.keyboard.press('Escape')
  await chart.focus()
  await page.keyboard.press('End')
  const told = await chart.getAttribute('aria-valuetext')
  const [moment = ''] = /\d{4}-\d\d-\d\d \d\d:\d\d/.exec(told ?? '') ?? []
  expect(await textOf(row)).toContain(moment)
})

test('a chart has the colours of the theme, also after it was changed', async () => {
  const drawn = () =>
    page.evaluate<boolean>(`(() => {
      const probe = document.createElement('span')
      probe.style.color = 'var(--series-1)'
      document.body.append(probe)
      const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number)
      probe.remove()
      const canvas = document.querySelector('canvas')
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
      for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] === 255 && wanted.every((part, k) => Math.abs(data[i + k] - part) < 3)) return true
      return false
    })()`)
  await expect.poll(drawn, PATIENT).toBe(true)
  await page.getByRole('button', { name: 'Dark theme' }).click()
  await expect.poll(drawn, PATIENT).toBe(true)
  await page.getByRole('button', { name: 'Light theme' }).click()
})

test('what cannot be read says so and can be tried again', async () => {
  told.said.set('models', problemOf(503, 'unavailable', 'the market is away'))
  await go('Models')
  await page.getByText('The market is away.').waitFor()
  told.said.delete('models')
  await page.getByRole('button', { name: 'Try again: the versions' }).click()
  await page.getByText('No model counts').waitFor()
})

test('a model is uploaded, activated and said to count, by keyboard', async () => {
  const upload = page.getByRole('button', { name: 'Upload model' })
  expect(await upload.getAttribute('title')).toBe('Choose the model and its manifest first.')
  await page.getByLabel('Model (.onnx)').setInputFiles(`${MODEL}/model.onnx`)
  await page.getByLabel('Manifest (.json)').setInputFiles(`${MODEL}/manifest.json`)
  await upload.focus()
  await page.keyboard.press('Enter')
  await page.getByText('It has passed its trial.').waitFor({ timeout: 60_000 })

  const activate = page.getByRole('button', { name: /^Activate the pending price-instability 1\.0\.0/ })
  await activate.focus()
  const dialog = page.getByRole('dialog')
  await page.route('**/api/admin/ml-models/activate', (route) => route.abort())
  await page.keyboard.press('Enter')
  expect(await focused(dialog.getByRole('button', { name: 'Keep it as it is' }))).toBe(true)
  const confirm = dialog.getByRole('button', { name: 'Activate price-instability 1.0.0' })
  await confirm.focus()
  await page.keyboard.press('Enter')
  await dialog.getByText('The outcome is unknown.').waitFor()
  expect(complaints.splice(0)).toEqual([expect.stringContaining('ERR_FAILED')])
  await page.unroute('**/api/admin/ml-models/activate')
  await page.keyboard.press('Enter')
  await dialog.waitFor({ state: 'detached' })
  await page.getByRole('status').filter({ hasText: 'price-instability 1.0.0 counts from now on' }).waitFor()
  const { items } = await ask(modelListSchema, '/api/v1/ml/models/list')
  expect(items.map(({ name, status }) => [name, status])).toEqual([['price-instability', 'active']])
  await page.getByText(`trained until ${items[0]?.trained_until}`).first().waitFor()
})

test('a decision comes by itself, and shows its stages and why each pool fell', async () => {
  await go('Decisions')
  await page.getByText('No decisions so far.').waitFor()
  await page.getByText('New ones are shown as they are made.').waitFor()
  await page.getByRole('button', { name: 'Decide now' }).click()
  const line = page.getByRole('listitem').filter({ hasText: agent?.name ?? '' })
  await line.getByRole('button').first().click()
  await line.getByText('every byte came out as it did then').waitFor()
  await line.getByText('Safety gate').waitFor()
})

test('an engine is tried with its sample, told what is wrong with an input, and set by keyboard', async () => {
  await go('Engines')
  const card = page.getByRole('region', { name: /^Spot optimizer/ }).first()
  const { items } = await ask(engineListSchema, '/api/v1/ml/engines/list')
  expect(await textOf(card)).toContain(`${items[0]?.engine_id}`)
  const input = page.getByLabel('Input, as JSON')
  const attempt = page.getByRole('button', { name: 'Try this input' })
  await attempt.click()
  await page.getByText('Nothing was kept.').waitFor()
  expect(await page.getByLabel('Output, as JSON').inputValue()).toContain('"decision": "SWITCH"')

  const sample = await input.inputValue()
  await input.fill(sample.replace('0.031', '"cheap"'))
  await attempt.click()
  await page.getByText('offers[1].spot_price').waitFor()
  expect(await input.getAttribute('aria-invalid')).toBe('true')
  expect(complaints.splice(0)).toEqual([expect.stringContaining('400')])
  await input.fill('{')
  await page.getByText('This is no JSON.').waitFor()
  expect(await attempt.getAttribute('aria-disabled')).toBe('true')
  await page.getByRole('button', { name: 'Back to the sample' }).click()
  expect(await input.inputValue()).toBe(sample)

  await page.getByLabel('Configuration, as JSON').fill('{ "min_gain": 0.5 }')
  await page.getByRole('button', { name: /^Set Spot optimizer with this/ }).press('Enter')
  const dialog = page.getByRole('dialog')
  await dialog.getByText('min_gain: 0.5').waitFor()
  expect(await focused(dialog.getByRole('button', { name: /^Keep Spot optimizer/ }))).toBe(true)
  await dialog.getByRole('button', { name: /^Set Spot optimizer/ }).press('Enter')
  await dialog.waitFor({ state: 'detached' })
  await page
    .getByRole('status')
    .filter({ hasText: 'decides from the next decision on, min_gain: 0.5' })
    .waitFor()
  await page.getByText('by demo,').waitFor()
  const set = await ask(enginePageSchema, `/api/v1/ml/engines/${items[0]?.engine_id}/metadata`)
  expect([set.config, set.revision, set.selected_by]).toEqual([{ min_gain: 0.5 }, 1, 'demo'])
})

test('the Lab shows which stages are passed over, and why', async () => {
  await uploadAnother()
  await go('Lab')
  await page.getByLabel('Version').selectOption({ index: 1 })
  await page.getByRole('button', { name: 'Assign model' }).click()
  await page.getByRole('status').filter({ hasText: 'from now on' }).waitFor({ timeout: 30_000 })
  const packing = page.getByRole('list', { name: 'Stages of the pipeline' }).getByRole('listitem')
  await packing.filter({ hasText: 'Bin packing' }).getByText('Bypassed in Lab Mode.').waitFor()
})

test('an experiment is registered from the page, started, and seen to end by itself', async () => {
  await page.getByText('None so far. “New experiment” registers one').waitFor()
  await page.getByRole('button', { name: 'New experiment' }).click()
  const register = page.getByRole('button', { name: 'Register experiment' })
  expect(await register.getAttribute('title')).toBe('Say what you expect, in 10 to 2,000 characters.')
  await page.getByLabel('What you expect').fill(`${HOSTILE} has a smaller loss`)
  await page.getByLabel('Version of control').selectOption({ index: 1 })
  await page.getByLabel('Version of treatment 1').selectOption({ index: 1 })
  expect(await register.getAttribute('title')).toContain('the same version')
  await page.getByLabel('Kind').selectOption('ab')
  await page.getByText('An A/B needs two targets or more.').waitFor()
  await page.getByLabel('Kind').selectOption('shadow')
  await page.getByLabel('Version of treatment 1').selectOption({ index: 2 })
  // What the page cannot know is said by the coordinator, and nothing of what was typed is lost.
  await page.route('**/api/v1/lab/experiments', (route) =>
    route.fulfill({ status: 400, contentType: 'application/problem+json', body: refusal }),
  )
  await register.click()
  await page.getByText('/hypothesis').waitFor()
  await page.unroute('**/api/v1/lab/experiments')
  expect(complaints.splice(0)).toEqual([expect.stringContaining('400')])
  await register.click()
  await page.getByText(/^exp-[0-9a-f]{12} is registered\.$/).waitFor()
  const id = new URLSearchParams(new URL(page.url()).hash.split('?')[1]).get('experiment') ?? ''

  await page.getByRole('button', { name: 'Start the experiment…' }).click()
  const dialog = page.getByRole('dialog')
  expect(await focused(dialog.getByRole('button', { name: 'Leave it registered' }))).toBe(true)
  await dialog.getByRole('button', { name: 'Start the experiment' }).click()
  await dialog.waitFor({ state: 'detached' })
  const line = page.getByRole('listitem').filter({ hasText: 'has a smaller loss' }).first()
  await line.getByText('Running', { exact: true }).waitFor()
  await line.getByText('Not enough data to compare').waitFor()
  const results = await ask(experimentResultsSchema, `/api/v1/lab/experiments/${id}/results`)
  expect(await textOf(line)).toContain(results.verdict?.missing[0])
  // Somebody else ends it: the page is told.
  await ask(experimentSchema, `/api/v1/lab/experiments/${id}/stop`, {})
  await line.getByText('Ended', { exact: true }).waitFor()
})

test('the results of an experiment are told with their intervals', async () => {
  const id = new URLSearchParams(new URL(page.url()).hash.split('?')[1]).get('experiment') ?? ''
  const results = await ask(experimentResultsSchema, `/api/v1/lab/experiments/${id}/results`)
  const treatments = results.treatments.map((each) => ({
    ...each,
    difference: { n: 42, mean: 0.0123, lower: -0.002, upper: null },
    blocks: 42,
  }))
  told.said.set('experiment-results', { value: { ...results, treatments } as unknown as Json })
  await page.reload()
  const table = page.getByRole('table', { name: 'Each treatment against control' })
  await table.getByText('0.0123 (95% interval -0.00200 to unbounded, 42 blocks)').waitFor()
  told.said.delete('experiment-results')
})

test('letters are shortcuts, except where they are typed, and can be switched off', async () => {
  const list = page.getByRole('dialog', { name: 'Keyboard' })
  await page.locator('h1').focus()
  await page.keyboard.press('?')
  await list.getByText('To the filter of the page').waitFor()
  await page.keyboard.press('Escape')
  await page.keyboard.press('g')
  await page.keyboard.press('p')
  const title = page.getByRole('heading', { name: 'Pools', level: 1 })
  await title.and(page.locator(':focus')).waitFor()
  await page.getByRole('link', { name: /^m5.large us-east-1a: / }).waitFor()
  await page.keyboard.press('j')
  expect(await page.locator('[data-walk]').first().and(page.locator(':focus')).count()).toBe(1)
  await page.keyboard.press('/')
  await page.keyboard.type('gd?')
  expect(await page.getByLabel('Filter').inputValue()).toBe('gd?')
  expect(new URL(page.url()).hash).toBe('#/pools?search=gd%3F')
  await page.getByRole('button', { name: 'Keyboard' }).click()
  await list.getByLabel('Shortcuts of single letters').uncheck()
  await page.keyboard.press('Escape')
  await page.reload()
  await title.waitFor()
  await page.keyboard.press('?')
  await page.keyboard.press('g')
  await page.keyboard.press('f')
  expect([await list.count(), new URL(page.url()).hash]).toEqual([0, '#/pools?search=gd%3F'])
})

test('the settings say where each value is from, who is told, and what was changed', async () => {
  await go('Settings')
  const port = page
    .getByRole('row')
    .filter({ has: page.getByRole('rowheader', { name: 'api_port', exact: true }) })
  expect(await textOf(port)).toContain('environment, API_PORT')
  const secret = page.getByRole('row').filter({ has: page.getByRole('rowheader', { name: 'db_password' }) })
  expect(await textOf(secret)).toContain('not set')
  await page.getByRole('button', { name: 'Send a test to pager' }).click()
  const pager = page.getByRole('region', { name: 'Receiver pager' })
  await pager.getByText('pager has taken the test message with status 204').waitFor()
  const { items } = await ask(z.object({ items: z.array(auditEntrySchema) }), '/api/audit?object=pager')
  expect(items).toMatchObject([{ actor: 'demo', action: 'notification.test', after: { ok: true } }])
  await page.getByLabel('What', { exact: true }).fill('notification.test')
  await page.keyboard.press('Enter')
  await page.getByRole('cell', { name: 'notification.test' }).waitFor()
  expect(new URL(page.url()).hash).toBe('#/settings?action=notification.test')
})

test('a name is shown as it is written, and never run', async () => {
  await go('Decisions')
  await page.getByRole('heading', { name: 'Decisions', level: 1 }).waitFor()
  const options = await page.getByLabel('Agent').locator('option').allTextContents()
  expect(options).toContain(HOSTILE)
  expect(await page.locator('img').count()).toBe(0)
})

test('axe finds nothing on any page, small or large, light or dark', async () => {
  const looked = await open({ width: 1280 })
  const { items } = await ask(modelListSchema, '/api/v1/ml/models/list')
  const places: readonly (readonly [hash: string, there: string])[] = [
    [`#/pools?pool=${encodeURIComponent(POOL)}`, 'Catalog'],
    ['#/models', 'Ledger'],
    [`#/models/${items[0]?.model_id}`, 'Features'],
    ['#/gap-filler', 'History'],
    ['#/lab', 'Pipeline'],
    ['#/decisions', 'Timeline'],
    ['#/switches', 'Latest first'],
    [`#/agents/${agent?.id}`, 'Sync lag'],
    ['#/engines', 'Try it'],
    ['#/settings', 'Configuration'],
  ]
  const found: Record<string, readonly string[]> = {}
  for (const [hash, there] of places) {
    await looked.evaluate(`location.hash = ${JSON.stringify(hash)}`)
    await looked.getByRole('heading', { name: there, exact: true }).waitFor()
    await expect.poll(() => looked.getByText(/^Loading /).count(), PATIENT).toBe(0)
    found[hash] = await findings(looked)
  }
  expect(found).toEqual(Object.fromEntries(places.map(([hash]) => [hash, []])))
  await looked.context().close()
})
