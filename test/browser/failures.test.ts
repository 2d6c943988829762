import { createServer } from 'node:net'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { Browser, Locator, Page, Route } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest'
import {
  runningIncident,
  sampleAgent,
  sampleIncident,
  sampleSnapshot,
} from '../../dashboard/src/testkit/samples.ts'
import { type Bench, startBench, until } from '../contract/bench.ts'
import type { Puppet } from '../contract/puppet.ts'
import { launchBrowser } from './chromium.ts'
import { type Told, tell } from './told.ts'
import { type WatchedPages, watchPages } from './watched-page.ts'

/** What goes wrong between a page, the coordinator and other people: the page ends with what is true, and says it once. */

let bench: Bench
let browser: Browser
let pages: WatchedPages

beforeAll(async () => {
  // One that starts again is found where it was.
  bench = await startBench({ mode: 'demo', env: { API_PORT: String(await freePort()) } })
  browser = await launchBrowser(inject('chromium'))
  pages = watchPages(browser, () => bench.url)
})
afterAll(async () => {
  await browser?.close()
  await bench?.close()
})
afterEach(() => expect(pages.complaints()).toEqual([]))

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })

const promoteButton = (page: Page, name: string): Locator =>
  page.getByRole('button', { name: `Promote a replica of ${name}…` })
const confirm = (page: Page): Locator => page.getByRole('dialog').getByRole('button', { name: /^Promote i-/ })
const recorder = (page: Page, name: string): Locator =>
  page.getByRole('region', { name: `Flight recorder of ${name}` })
const incidentsOf = async (agent: string): Promise<readonly IncidentView[]> =>
  (await bench.call('GET', `/api/incidents?agent_id=${agent}`)).body.items
const agentOf = async (agent: string) => (await bench.call('GET', `/api/agents/${agent}`)).body
const switchesOf = async (agent: string) =>
  (await bench.call('GET', `/api/agents/${agent}/switches`)).body.items

/** From now on orders are kept instead of carried out; what it returns carries them out. */
function holdOrders(puppet: Puppet): () => void {
  const held: Parameters<Puppet['obey']>[0][] = []
  puppet.onOrder = (order) => void held.push(order)
  return () => {
    puppet.onOrder = (order) => puppet.obey(order)
    for (const order of held) puppet.obey(order)
  }
}

async function openDialog(page: Page, name: string): Promise<void> {
  await promoteButton(page, name).click()
  await page.getByRole('dialog').getByText('Starts serving').waitFor()
}

async function choose(page: Page, replica: { id: string; puppet: Puppet } | undefined): Promise<void> {
  await page.getByRole('dialog').getByLabel('Replica').selectOption(`${replica?.id}`)
  const chosen = page.getByRole('dialog', { name: `Promote ${replica?.puppet.instance} to` })
  await chosen.getByText('Starts serving').waitFor()
}

/** What tabs ask for is under way until all of them have asked: a page that hears of a move lets nobody ask for another. */
async function holdPromotions(tabs: readonly Page[]): Promise<() => Promise<void>> {
  const asked: Route[] = []
  for (const tab of tabs)
    await tab.route('**/replicas/*/promote', (route) => {
      if (route.request().method() === 'POST') asked.push(route)
      else void route.fallback()
    })
  return async () => {
    await until(() => Promise.resolve(asked.length === tabs.length))
    for (const route of asked) void route.continue()
  }
}

describe('two tabs that promote at once', () => {
  test('different replicas: one is told that it came too late, and both show the one move', async () => {
    const primary = await bench.primary('web-1')
    const replicas = [await bench.replica('web-1', primary), await bench.replica('web-1', primary)]
    const goOn = holdOrders(primary)
    const tabs = [await pages.open(), await pages.open()] as const
    for (const [i, tab] of tabs.entries()) {
      await tab.getByText('ready 2/2').waitFor()
      await openDialog(tab, 'web-1')
      await choose(tab, replicas[i])
    }
    // The dialog of the other replica has taken the place of the first, and gives the focus back all the same.
    await tabs[1].keyboard.press('Escape')
    await promoteButton(tabs[1], 'web-1').and(tabs[1].locator(':focus')).waitFor()
    await openDialog(tabs[1], 'web-1')
    await choose(tabs[1], replicas[1])
    const send = await holdPromotions(tabs)
    await Promise.all(tabs.map((tab) => confirm(tab).click()))
    await send()
    // Whoever is asked for the standby that is no successor changes the epoch by that.
    const tooLate = (tab: Page) =>
      tab.getByText(/web-1 is being moved already|something has moved it since you looked/)
    await Promise.any(tabs.map((tab) => tooLate(tab).waitFor()))
    goOn()
    for (const tab of tabs) {
      await recorder(tab, 'web-1').getByRole('heading', { name: 'web-1 moved to' }).waitFor()
      expect(await recorder(tab, 'web-1').count()).toBe(1)
    }
    const refused = await Promise.all(tabs.map((tab) => tooLate(tab).count()))
    expect(refused.toSorted()).toEqual([0, 1])
    const { instance_id: now, epoch } = await agentOf('web-1')
    const winner = replicas[refused.indexOf(0)]
    expect(now).toBe(winner?.puppet.instance)
    expect(await incidentsOf('web-1')).toMatchObject([{ new_instance_id: now, outcome: 'promoted' }])
    expect(await switchesOf('web-1')).toMatchObject([{ new_instance_id: now, epoch }])
    for (const tab of tabs) {
      await tab.goto(`${bench.url}/#/?agent=web-1`)
      await tab.getByText(`${now} · since`).waitFor()
      await tab.context().close()
    }
  })

  test('the same replica: both have asked for the same move, and there is one', async () => {
    const primary = await bench.primary('web-2')
    const { puppet } = await bench.replica('web-2', primary)
    const goOn = holdOrders(primary)
    const tabs = [await pages.open(), await pages.open()]
    for (const tab of tabs) await openDialog(tab, 'web-2')
    await Promise.all(tabs.map((tab) => confirm(tab).click()))
    for (const tab of tabs)
      await recorder(tab, 'web-2')
        .getByText(/^Waiting for /)
        .waitFor()
    goOn()
    for (const tab of tabs) {
      await recorder(tab, 'web-2').getByRole('heading', { name: 'web-2 moved to' }).waitFor()
      await tab.getByRole('status').filter({ hasText: 'web-2 moved to' }).waitFor()
      await tab.context().close()
    }
    expect((await agentOf('web-2')).instance_id).toBe(puppet.instance)
    expect(await incidentsOf('web-2')).toHaveLength(1)
  })
})

test('a coordinator that starts again in the middle of a move: the page is old, then tells how it ended, once', async () => {
  const primary = await bench.primary('web-3')
  const { puppet } = await bench.replica('web-3', primary)
  const page = await pages.open({}, (own) => own.clock.install())
  const goOn = holdOrders(primary)
  await openDialog(page, 'web-3')
  await confirm(page).click()
  await recorder(page, 'web-3')
    .getByText(/^Waiting for /)
    .waitFor()
  await bench.stop()
  await page.getByText('may or may not have been promoted').waitFor()
  await page.clock.runFor(12_000)
  await page.getByText('Not live.', { exact: true }).waitFor()
  expect(await promoteButton(page, 'web-3').getAttribute('aria-disabled')).toBe('true')
  expect(await recorder(page, 'web-3').getByRole('heading').first().textContent()).toContain('is moving')

  goOn()
  await bench.start(primary, puppet)
  await until(async () => (await incidentsOf('web-3'))[0]?.closed_at !== null)
  // As long as it waits at most before it tries again.
  await page.clock.runFor(15_000)
  await expect.poll(() => page.locator('main').getAttribute('data-stale'), { timeout: 30_000 }).toBeNull()
  const [incident, ...others] = await incidentsOf('web-3')
  expect(others).toEqual([])
  const told = incident?.outcome === 'promoted' ? 'web-3 moved to' : 'web-3 did not move'
  await recorder(page, 'web-3').getByRole('heading', { name: told }).waitFor()
  expect(await page.getByRole('region', { name: /^Flight recorder/ }).count()).toBe(1)
  await page.evaluate(`location.hash = '#/incidents?agent=web-3'`)
  await page.getByRole('table').getByRole('link', { name: told }).waitFor()
  expect(await page.getByRole('table').locator('tbody tr').count()).toBe(1)
  await page.goto(`${bench.url}/#/?agent=web-3`)
  await page.getByText(`${(await agentOf('web-3')).instance_id} · since`).waitFor()
  await page.context().close()
})

test('a feed that is cut at each step of a move leaves none out and shows none twice', async () => {
  const agent = sampleAgent()
  const of = { agent_id: agent.id, agent_name: agent.name }
  const whole = sampleIncident(of)
  const total = whole.steps.length
  let known = 1
  const incident = (): IncidentView =>
    known > total ? whole : runningIncident({ ...of, steps: whole.steps.slice(0, known) })
  let told: Told | undefined
  const page = await pages.open({}, async (own) => {
    await own.clock.install()
    told = await tell(own, () => ({ ...sampleSnapshot(1, [agent], [incident()]), at: Date.now() }))
  })
  const flight = recorder(page, agent.name)
  const steps = flight.getByRole('listitem').getByRole('button')
  const open = flight.getByRole('button', { name: 'Notice received' })
  await open.click()
  // It tries again when it is let, so that what it says meanwhile can be read.
  await page.clock.pauseAt(Date.now() + 500)
  while (known <= total) {
    await expect.poll(() => steps.count()).toBe(known)
    await flight.getByText(/^Waiting for /).waitFor()
    // It goes on while nobody hears of it.
    known += 1
    told?.drop()
    await page.getByText(/^Reconnecting/).waitFor()
    await until(async () => {
      await page.clock.runFor(100)
      return told?.connections === known
    })
  }
  await flight.getByRole('heading', { name: `${agent.name} moved to` }).waitFor()
  const names = await steps.allTextContents()
  expect([new Set(names).size, names.length]).toEqual([total, total])
  expect(await open.getAttribute('aria-expanded')).toBe('true')
  expect(told?.connections).toBe(total + 1)
  await page.context().close()
})
