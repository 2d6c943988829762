import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { manifestSchema } from '@understudy/shared/protocol/model-manifest'
import type { Browser, Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import { variantsOf } from '../../coordinator/src/demo/lab-models.ts'
import { type Bench, startBench, until } from '../contract/bench.ts'
import type { Puppet } from '../contract/puppet.ts'
import { launchBrowser } from './chromium.ts'
import { enter, isFocused, neverReached, tabTo } from './keyboard.ts'
import { type WatchedPages, watchPages } from './watched-page.ts'

/** What an operator does, by keyboard and nothing else: a coordinator that asks who one is, one page. In this order. */

const MODEL = fileURLToPath(new URL('../../models/registry/price-instability/1.0.0', import.meta.url))
const manifest = manifestSchema.parse(JSON.parse(readFileSync(`${MODEL}/manifest.json`, 'utf8')))

let bench: Bench
let browser: Browser
let pages: WatchedPages
let page: Page
let primary: Puppet

beforeAll(async () => {
  bench = await startBench()
  primary = await bench.primary('web-1')
  browser = await launchBrowser(inject('chromium'))
  pages = watchPages(browser, () => bench.url)
  page = await pages.open()
})
afterAll(async () => {
  await browser?.close()
  await bench?.close()
})
afterEach(() => expect(pages.complaints()).toEqual([]))

const button = (name: string | RegExp): Locator => page.getByRole('button', { name, exact: true })
const dialog = (): Locator => page.getByRole('dialog')
const status = (text: string | RegExp): Locator => page.getByRole('status').filter({ hasText: text })
const press = (key: string): Promise<void> => page.keyboard.press(key)
const title = (name: string): Locator => page.getByRole('heading', { name, level: 1 })
/** The title has the focus, as the next thing that is read. */
const arriveAt = (name: string) => title(name).and(page.locator(':focus')).waitFor()

/** Opens a dialog from a button, leaves it by Escape and is back on the button; nothing was asked for. */
async function lookAndLeave(opener: Locator): Promise<void> {
  const asked: string[] = []
  const note = (request: { method(): string; url(): string }) => {
    if (request.method() !== 'GET') asked.push(request.url())
  }
  page.on('request', note)
  await enter(opener)
  await dialog().locator(':focus').waitFor()
  await press('Escape')
  await dialog().waitFor({ state: 'detached' })
  expect(await isFocused(opener)).toBe(true)
  page.off('request', note)
  expect(asked).toEqual([])
}

test('signing in: a wrong token is told and can be corrected, then the page begins at its title', async () => {
  const token = await bench.operatorToken('operator')
  await title('Sign in').waitFor()
  const field = page.getByLabel('Token')
  await tabTo(field)
  await page.keyboard.type('not this one')
  await press('Enter')
  await page.getByRole('alert').getByText('The token is not valid.').waitFor()
  expect(await isFocused(field)).toBe(true)
  await press('Control+a')
  await page.keyboard.type(token)
  await press('Enter')
  await arriveAt('Fleet')
  await page.getByText('operator · operator').waitFor()
})

test('a replica is asked for and made, and the focus stays where it was', async () => {
  const create = button('Create replica of web-1')
  await enter(create)
  await status('web-1: a replica is launching in').waitFor()
  expect(await isFocused(create)).toBe(true)
  const { items } = (await bench.call('GET', '/api/agents/web-1/replicas')).body
  expect(items).toMatchObject([{ type: 'manual', created_by: 'operator' }])
  await bench.join('web-1', primary, items[0])
  await page.getByText('ready 1/1').waitFor()
  expect(await isFocused(create)).toBe(true)
})

test('the details of an agent are opened, a replica is nearly deleted, and nothing has happened', async () => {
  const row = page.getByRole('rowheader').getByRole('link', { name: 'web-1' })
  await press('g')
  await press('f')
  await tabTo(row, 'Shift+Tab')
  await press('Enter')
  await lookAndLeave(button(/^Delete/))
  await tabTo(row, 'Shift+Tab')
  await press('Enter')
  await page.getByRole('region', { name: 'Replicas of web-1' }).waitFor({ state: 'detached' })
  expect(await isFocused(row)).toBe(true)
})

test('a replica is promoted, and each step of the recorder tells who reported it', async () => {
  await enter(button('Promote a replica of web-1…'))
  const keep = dialog().getByRole('button', { name: 'Keep web-1 where it is' })
  await keep.and(page.locator(':focus')).waitFor()
  await dialog().getByText('Starts serving').waitFor()
  await enter(dialog().getByRole('button', { name: /^Promote i-/ }))
  const recorder = page.getByRole('region', { name: 'Flight recorder of web-1' })
  await recorder.getByRole('heading', { name: 'web-1 moved to' }).and(page.locator(':focus')).waitFor()

  const step = recorder.getByRole('button', { name: 'Epoch moved' })
  await enter(step)
  await recorder.getByText("the coordinator's own").waitFor()
  expect(await step.getAttribute('aria-expanded')).toBe('true')
  await press('Tab')
  expect(await recorder.locator(':focus').count()).toBe(1)
  await press('Shift+Tab')
  await press('Space')
  await recorder.getByText("the coordinator's own").waitFor({ state: 'detached' })
  expect([await step.getAttribute('aria-expanded'), await isFocused(step)]).toEqual(['false', true])
})

test('new decisions are kept back, counted, and let in without losing the place', async () => {
  await press('g')
  await press('d')
  await arriveAt('Decisions')
  await page.getByText('New ones are shown as they are made.').waitFor()
  await enter(button('Pause new ones'))
  await button('Go on with new ones').and(page.locator(':focus')).waitFor()
  await enter(button('Decide now'))
  const waiting = button(/^1 new: show them$/)
  await waiting.waitFor()
  const lines = page.locator('main ol > li')
  expect(await lines.count()).toBe(0)
  await enter(waiting)
  await lines.first().waitFor()
  await waiting.waitFor({ state: 'detached' })
  // What was pressed is not there any more; reading goes on at the list.
  await page.getByRole('heading', { name: 'Latest first' }).and(page.locator(':focus')).waitFor()
  await enter(lines.first().getByRole('button').first())
  await lines.first().getByText('every byte came out as it did then').waitFor()
  await tabTo(button('Go on with new ones'), 'Shift+Tab')
  await press('Space')
  expect(await isFocused(button('Pause new ones'))).toBe(true)
})

/** As somebody chooses files without a mouse: the browser's own dialog, opened from the field. */
async function choose(field: string, name: string, content: Buffer): Promise<void> {
  const chooser = page.waitForEvent('filechooser')
  await enter(page.getByLabel(field))
  await (await chooser).setFiles({ name, mimeType: 'application/octet-stream', buffer: content })
}

async function uploadAndActivate(manifestOf: typeof manifest): Promise<void> {
  const name = `${manifestOf.name} ${manifestOf.version}`
  await choose('Model (.onnx)', 'model.onnx', readFileSync(`${MODEL}/model.onnx`))
  await choose('Manifest (.json)', 'manifest.json', Buffer.from(JSON.stringify(manifestOf)))
  // A trial has 10 s, which a machine that others use may not give at once.
  for (let attempt = 0, taken = false; attempt < 3 && !taken; attempt += 1) {
    const answer = page.waitForResponse(/\/ml-models\/upload\?/, { timeout: 60_000 })
    await enter(button('Upload model'))
    taken = (await answer).ok()
  }
  await page.getByText('It has passed its trial.').waitFor()
  const activate = button(`Activate the pending ${name}…`)
  await activate.waitFor()
  await lookAndLeave(activate)
  await press('Enter')
  await dialog().locator('[data-first]:focus').waitFor()
  await enter(dialog().getByRole('button', { name: `Activate ${name}` }))
  await dialog().waitFor({ state: 'detached' })
  await status(`${name} counts from now on`).waitFor()
  // There is nothing left to activate, and no button.
  await page.getByRole('heading', { name: 'Pending' }).and(page.locator(':focus')).waitFor()
}

const counting = async (): Promise<string | undefined> => {
  const { items } = (await bench.call('GET', '/api/v1/ml/models/list')).body
  return items.find((one: { status: string }) => one.status === 'active')?.version
}

test('two models are uploaded and activated, and the first one is gone back to', async () => {
  const second = variantsOf(manifest).cautious
  await press('g')
  await press('m')
  await arriveAt('Models')
  await uploadAndActivate(manifest)
  await uploadAndActivate(second)
  expect(await counting()).toBe(second.version)

  const back = button(`Fall back to ${manifest.name} ${manifest.version}…`)
  await back.waitFor()
  await lookAndLeave(back)
  await press('Enter')
  const keep = dialog().getByRole('button', { name: `Keep ${second.name} ${second.version}` })
  await keep.and(page.locator(':focus')).waitFor()
  await enter(dialog().getByRole('button', { name: `Go back to ${manifest.name} ${manifest.version}` }))
  await dialog().waitFor({ state: 'detached' })
  await status(`${manifest.name} ${manifest.version} counts from now on`).waitFor()
  expect(await counting()).toBe(manifest.version)
  // The button is still there, and goes back to the other one now.
  await button(`Fall back to ${second.name} ${second.version}…`).and(page.locator(':focus')).waitFor()
})

test.each(['#/', '#/agents/web-1', '#/incidents', '#/decisions', '#/models', '#/lab', '#/settings'])(
  'on %s everything that can be used is come to by Tab, and nothing holds the focus',
  async (hash) => {
    await page.evaluate(`location.hash = ${JSON.stringify(hash)}`)
    await page.locator('main h1').waitFor()
    await expect.poll(() => page.getByText(/^Loading /).count(), { timeout: 15_000 }).toBe(0)
    expect(await neverReached(page)).toEqual([])
  },
)

test('signing out leads back to where one signs in', async () => {
  await enter(button('Sign out'))
  await arriveAt('Sign in')
  await page.reload()
  await title('Sign in').waitFor()
})

test('the coordinator has heard of one move and nothing was done twice', async () => {
  const { items } = (await bench.call('GET', '/api/incidents')).body
  expect(items).toMatchObject([{ agent_id: 'web-1', outcome: 'promoted', trigger: 'planned' }])
  await until(async () => (await bench.call('GET', '/api/agents/web-1')).body.phase === 'steady')
})
