import { formatMillis, millis } from '@understudy/shared/core/time'
import { drillViewSchema } from '@understudy/shared/protocol/drills'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import { switchViewSchema } from '@understudy/shared/protocol/incidents'
import type { Browser, Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import { z } from 'zod'
import { findPrograms } from '../../coordinator/src/commands/demo.ts'
import { demoAgents, startFleet } from '../../coordinator/src/demo/fleet-story.ts'
import { primaryOf, type Rig, startRig } from '../../coordinator/src/demo/rig.ts'
import { launchBrowser } from './chromium.ts'
import { findings } from './looks.ts'

/** The story of an operator in front of the page: real agents, a real coordinator, a real browser. In this order. */

/** The two of the demo that begin without a replica. */
const agents = demoAgents(5).filter(({ replica }) => !replica)
const names = agents.map((agent) => agent.name)
const { id, name } = agents[0] ?? { id: '', name: '' }

let rig: Rig
let browser: Browser
let page: Page
/** What the browser complained about, on any page. */
const complaints: string[] = []

beforeAll(async () => {
  rig = await startRig({
    seed: 1,
    programs: findPrograms(),
    // As long as a call of EC2's API may take, so that a move can be watched.
    cloud: { apiDelay: millis(700), bootMillis: () => [1000, 1000] },
  })
  browser = await launchBrowser(inject('chromium'))
  await startFleet(rig, agents, 20, () => {})
  page = await open({ width: 1280 })
})
afterAll(async () => {
  await browser?.close()
  await rig?.close()
})
afterEach(() => expect(complaints.splice(0)).toEqual([]))

async function open({ width }: { width: number }): Promise<Page> {
  const context = await browser.newContext({ viewport: { width, height: 900 } })
  context.setDefaultTimeout(15_000)
  const opened = await context.newPage()
  opened.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
  opened.on('pageerror', (error) => complaints.push(String(error)))
  opened.on('request', (request) => {
    const { origin } = new URL(request.url())
    if (origin !== rig.coordinator.url) complaints.push(`asked ${origin}`)
  })
  await opened.goto(rig.coordinator.url)
  await opened.getByRole('table', { name: /^Agents/ }).waitFor()
  return opened
}

const row = (of: string): Locator =>
  page.getByRole('row').filter({ has: page.getByRole('rowheader', { name: of }) })
/** Its cell on the map of the pools, as it is read out; behind a dialog too. */
const placeOnMap = (pool: string | null) =>
  page.locator(`a[aria-label^="${(pool ?? '').replace('@', ' ')}: "][aria-label*="primary of ${name}"]`)
const dialog = () => page.getByRole('dialog')
const promoteButton = () => page.getByRole('button', { name: `Promote a replica of ${name}…` })
const focused = (locator: Locator) => locator.and(page.locator(':focus')).isVisible()
const textOf = async (locator: Locator) => ((await locator.textContent()) ?? '').replaceAll(/\s+/g, ' ')

test('the fleet is a table with the state of every agent', async () => {
  // The page follows the coordinator by a moment.
  for (const agent of agents) await row(agent.name).getByText('Healthy').waitFor()
  const cells = await Promise.all(agents.map((agent) => textOf(row(agent.name))))
  for (const [index, agent] of agents.entries()) {
    expect(cells[index]).toContain(agent.pool.replace('@', ' · '))
    expect(cells[index]).toContain('none')
  }
  expect(await promoteButton().getAttribute('title')).toBe('No replica yet: create one first.')
  await page.getByText(`Without a ready replica: ${names.toSorted().join(', ')}.`).waitFor()
})

test('a replica that is asked for is seen on its way until it is ready', async () => {
  await page.getByRole('link', { name, exact: true }).click()
  await page.getByRole('button', { name: `Create replica of ${name}` }).click()
  await page
    .getByRole('status')
    .filter({ hasText: `${name}: a replica is launching in` })
    .waitFor()
  const replicas = page.getByRole('region', { name: `Replicas of ${name}` })
  const progress = replicas.getByRole('progressbar')
  await progress.waitFor()
  expect(await textOf(replicas.locator('[aria-current=step]'))).toMatch(/Launching|Syncing/)
  await replicas.getByText('Ready', { exact: true }).and(page.locator('[data-tone=standby]')).waitFor()
  await progress.waitFor({ state: 'detached' })
  await row(name).getByText('ready 1/1').waitFor()
  expect((await rig.operator.agent(id)).replicas).toMatchObject([{ status: 'ready', type: 'manual' }])
})

test('the dialog can be left by keyboard, changes nothing, and gives the focus back', async () => {
  const before = await rig.operator.agent(id)
  await promoteButton().focus()
  await page.keyboard.press('Enter')
  await dialog().getByText('Starts serving').waitFor()
  const keep = dialog().getByRole('button', { name: `Keep ${name} where it is` })
  expect(await focused(keep)).toBe(true)
  for (let step = 0; step < 6; step += 1) {
    await page.keyboard.press('Tab')
    expect(await page.locator(':focus:not(dialog *)').count()).toBe(0)
  }
  await page.keyboard.press('Escape')
  await dialog().waitFor({ state: 'detached' })
  expect(await focused(promoteButton())).toBe(true)
  const after = await rig.operator.agent(id)
  expect([after.epoch, after.instance_id]).toEqual([before.epoch, before.instance_id])
})

test('a replica is promoted, watched and recorded once', async () => {
  const before = await rig.operator.agent(id)
  const replica = before.replicas.find(({ status }) => status === 'ready')
  await promoteButton().click()
  await expectFacts({
    Stops: before.instance_id ?? '',
    'Starts serving': replica?.instance_id ?? '',
    'Expected gap': 'no moves yet to learn it from',
    Epoch: `${before.epoch} → ${before.epoch + 1}`,
  })
  await placeOnMap(before.pool_id).waitFor()
  await dialog().getByText('The last of the state is sent and compared').waitFor()
  await dialog()
    .getByRole('button', { name: `Promote ${replica?.instance_id}` })
    .click()

  const recorder = page.getByRole('region', { name: `Flight recorder of ${name}` })
  // The dialog gives way to what can be watched, long before the answer.
  await dialog().waitFor({ state: 'detached' })
  await Promise.all([
    recorder.getByRole('heading', { name: `${name} is moving` }).waitFor(),
    recorder.getByText(/^Waiting for /).waitFor(),
    recorder.getByText('so far').waitFor(),
  ])

  await recorder.getByRole('heading', { name: `${name} moved to` }).waitFor()
  expect(await focused(recorder.getByRole('heading'))).toBe(true)
  await recorder.getByText('Nothing lost:').waitFor()
  await row(name).getByText('Healthy').waitFor()
  await page.getByText(`${replica?.instance_id} · since`).waitFor()

  const after = await rig.operator.agent(id)
  expect(primaryOf(after)).toBe(replica?.instance_id)
  // The map says the same: the primary is where its replica was.
  await placeOnMap(after.pool_id).waitFor()
  expect(after.pool_id).not.toBe(before.pool_id)
  expect(after.epoch).toBe(before.epoch + 1)
  const [incident, ...others] = await rig.operator.incidents(id)
  expect(others).toEqual([])
  await expectToldAsRecorded(recorder, incident)
  expect(await switchesOf(id)).toMatchObject([
    {
      epoch: after.epoch,
      incident_id: incident?.id,
      switch_reason: 'manual',
      old_instance_id: before.instance_id,
      new_instance_id: replica?.instance_id,
      success: true,
    },
  ])
  // Somebody who only writes and reads says the same as the page.
  const { verdict } = await rig.judge.verify(id)
  expect(verdict).toMatchObject({ missing: [], wrong: 0 })
  expect(verdict.acked).toBeGreaterThan(0)
})

test('every incident has a page with its steps, and a step says who reported it', async () => {
  await page.getByRole('link', { name: 'Incidents', exact: true }).click()
  await page
    .getByRole('table')
    .getByRole('link', { name: `${name} moved to` })
    .click()
  const recorder = page.getByRole('region', { name: `Flight recorder of ${name}` })
  await recorder.getByRole('button', { name: 'Epoch moved' }).click()
  await recorder.getByText("the coordinator's own").waitFor()
  const step = new URL(page.url()).hash
  await page.reload()
  await recorder.getByText("the coordinator's own").waitFor()
  expect(new URL(page.url()).hash).toBe(step)
})

test('axe finds nothing, small or large, light or dark', async () => {
  const looked = await open({ width: 1280 })
  const found: Record<string, readonly string[]> = {}
  const note = async (place: string) => {
    found[place] = await findings(looked)
  }
  await looked.getByRole('link', { name, exact: true }).click()
  await looked.getByRole('region', { name: `Replicas of ${name}` }).waitFor()
  await note('fleet')
  await looked.getByRole('button', { name: `Promote a replica of ${name}…` }).click()
  await note('dialog')
  await looked.keyboard.press('Escape')
  await looked.getByRole('link', { name: 'Incidents', exact: true }).click()
  const moved = looked.getByRole('table').getByRole('link', { name: `${name} moved to` })
  await moved.waitFor()
  await note('incidents')
  await moved.click()
  await looked.getByRole('button', { name: 'Epoch moved' }).click()
  await note('incident')
  expect(found).toEqual({ fleet: [], dialog: [], incidents: [], incident: [] })
  await looked.context().close()
})

test('a drill says first what it does, then how it went, and nothing is ended for it', async () => {
  const before = await rig.operator.agent(id)
  await page.goto(`${rig.coordinator.url}/#/agents/${id}`)
  const begin = page.getByRole('button', { name: `Drill ${name}…` })
  await expect.poll(() => begin.getAttribute('title'), { timeout: 15_000 }).toBeNull()
  await begin.click()
  await expectFacts({ Stops: before.instance_id ?? '', 'If it fails': 'the old primary runs on' })
  expect(await focused(dialog().getByRole('button', { name: `Leave ${name} as it is` }))).toBe(true)
  await dialog().getByLabel('Move back').uncheck()
  await dialog()
    .getByRole('button', { name: `Drill ${name}`, exact: true })
    .click()
  await dialog().waitFor({ state: 'detached' })
  const report = page.getByRole('region', { name: 'The latest drill' })
  await report.getByText('It works').waitFor()

  const [drill, ...others] = await drillsOf(id)
  expect(others).toEqual([])
  const [move] = drill?.moves ?? []
  expect(move).toMatchObject({ from_instance_id: before.instance_id, outcome: 'promoted' })
  expect(await textOf(report)).toContain(`nobody served for ${formatMillis(move?.no_primary_ms ?? 0)}`)
  await report.getByRole('link', { name: 'Flight recorder out' }).click()
  await page.getByLabel('Compare with the median of').selectOption('all')
  await page.getByText('no earlier move of all agents with the same cause (Drill) has succeeded').waitFor()
  expect(new URL(page.url()).hash).toBe(`#/incidents/${move?.incident_id}?compare=all`)
})

async function expectFacts(wanted: Record<string, string>): Promise<void> {
  for (const [fact, value] of Object.entries(wanted)) {
    const told = dialog().locator(`dt:text-is("${fact}") + dd`)
    await told.waitFor()
    expect(await textOf(told)).toContain(value)
  }
}

/** What is on the page is what the API says: every step, and the figure that matters. */
async function expectToldAsRecorded(recorder: Locator, incident: IncidentView | undefined): Promise<void> {
  expect(incident).toMatchObject({ outcome: 'promoted', trigger: 'planned', loss: { kind: 'none' } })
  expect(await recorder.getByRole('listitem').count()).toBe(incident?.steps.length)
  const told = await textOf(recorder)
  expect(told).toContain(`moved to ${incident?.new_pool_id?.split('@')[1]} in`)
  expect(told).toContain(formatMillis(incident?.failover_time_ms ?? 0))
  expect(told).toContain(`No primary for ${formatMillis(incident?.no_primary_ms ?? 0)}`)
}

async function drillsOf(agent: string) {
  const response = await fetch(`${rig.coordinator.url}/api/agents/${agent}/drills`)
  return z.object({ items: z.array(drillViewSchema) }).parse(await response.json()).items
}

async function switchesOf(agent: string) {
  const response = await fetch(`${rig.coordinator.url}/api/agents/${agent}/switches`)
  return z.object({ items: z.array(switchViewSchema) }).parse(await response.json()).items
}
