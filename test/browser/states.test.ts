import { fileURLToPath } from 'node:url'
import type { GapFillTask } from '@understudy/shared/protocol/model-data'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest'
import {
  runningIncident,
  sampleAgent,
  sampleIncident,
  samplePlan,
  samplePool,
  sampleReplica,
  sampleSnapshot,
} from '../../dashboard/src/testkit/samples.ts'
import { type Bench, startBench } from '../contract/bench.ts'
import { axeFindings } from './axe.ts'
import { launchBrowser } from './chromium.ts'
import { findings, tooWide } from './looks.ts'
import { problem, tell } from './told.ts'
import { problemOf, tellReadings } from './told-readings.ts'

/** Pages as they seldom are: nothing there yet, nothing to be read, hostile names, and calls of which nobody knows the end. */

const MODEL = fileURLToPath(new URL('../../models/registry/price-instability/1.0.0', import.meta.url))
const PATIENT = { timeout: 15_000 }

let bench: Bench
let browser: Browser
/** What the browser complained about, on any page. */
const complaints: string[] = []

beforeAll(async () => {
  bench = await startBench({ mode: 'demo' })
  browser = await launchBrowser(inject('chromium'))
})
afterAll(async () => {
  await browser?.close()
  await bench?.close()
})
afterEach(() => expect(complaints.splice(0)).toEqual([]))

/** A page of its own; it asks nobody else, and nothing goes wrong on it. */
async function open(
  options: BrowserContextOptions = {},
  prepare: (page: Page) => Promise<unknown> = async () => {},
): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })
  context.setDefaultTimeout(15_000)
  const page = await context.newPage()
  // What is not there, or was refused on purpose, the browser tells too; anything else is a fault.
  const expected = /^Failed to load resource|^WebSocket connection to/
  page.on('console', (message) => {
    if (message.type() === 'error' && !expected.test(message.text())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('request', (request) => {
    if (!request.url().startsWith(bench.url)) complaints.push(`asked ${request.url()}`)
  })
  await prepare(page)
  await page.goto(bench.url)
  return page
}

const go = async (page: Page, hash: string) => {
  await page.evaluate(`location.hash = ${JSON.stringify(hash)}`)
  await page.locator('main h1').waitFor()
  await expect.poll(() => page.getByText(/^Loading /).count(), PATIENT).toBe(0)
}

const agent = sampleAgent()
const incident = sampleIncident({ agent_id: agent.id, agent_name: agent.name })
const everyPage = [
  '#/',
  `#/agents/${agent.id}`,
  '#/incidents',
  `#/incidents/${incident.id}`,
  '#/switches',
  '#/pools',
  '#/models',
  '#/models/model-0123456789ab',
  '#/gap-filler',
  '#/lab',
  '#/decisions',
  '#/engines',
  '#/settings',
]

describe('axe finds nothing', () => {
  test('where there is nothing yet', async () => {
    const page = await open()
    await page.getByText('No agents yet').waitFor()
    const found: Record<string, readonly string[]> = {}
    for (const hash of [...everyPage, '#/no/such/page']) {
      await go(page, hash)
      found[hash] = await findings(page)
    }
    expect(Object.entries(found).filter(([, lines]) => lines.length > 0)).toEqual([])
    await page.context().close()
  })

  test('where nothing can be read', async () => {
    const page = await open({}, async (own) => {
      await tell(own, () => sampleSnapshot(1, [agent], [incident]))
      await own.route(
        (url) => url.pathname.startsWith('/api/') && url.pathname !== '/api/session',
        problem(503, 'unavailable', 'the database is away'),
      )
      const readings = await tellReadings(own)
      readings.all = problemOf(503, 'unavailable', 'the database is away')
    })
    const found: Record<string, readonly string[]> = {}
    for (const hash of everyPage) {
      await go(page, hash)
      // Two pages live from what they were told, and so does the list of incidents as far as it goes.
      if (!['#/', `#/incidents/${incident.id}`].includes(hash))
        await page.getByText('The database is away.').first().waitFor()
      found[hash] = await findings(page)
    }
    expect(Object.entries(found).filter(([, lines]) => lines.length > 0)).toEqual([])
    await page.context().close()
  })

  test('in dialogs, on the sign-in page and without the coordinator', async () => {
    const found: Record<string, readonly string[]> = {}
    const page = await open({}, async (own) => {
      await tell(own, () => sampleSnapshot(1, [agent], []))
      await own.route('**/promote?dry_run', (route) => route.fulfill({ json: samplePlan() }))
    })
    const dialog = page.getByRole('dialog')
    await page.getByRole('button', { name: 'Keyboard' }).click()
    found.keyboard = await findings(page)
    await page.keyboard.press('Escape')
    await page.getByRole('link', { name: agent.name, exact: true }).click()
    await page.getByRole('button', { name: /^Delete/ }).click()
    await dialog.waitFor()
    found.delete = await findings(page)
    await page.keyboard.press('Escape')
    await go(page, `#/agents/${agent.id}`)
    await page.getByRole('button', { name: `Drill ${agent.name}…` }).click()
    await dialog.getByText('Starts serving').waitFor()
    found.drill = await findings(page)
    await page.context().close()

    const signIn = await open({}, (own) =>
      own.route('**/api/session', (route) => route.fulfill({ json: { needs_login: true } })),
    )
    await signIn.getByRole('heading', { name: 'Sign in' }).waitFor()
    found.signIn = await findings(signIn)
    await signIn.context().close()
    const away = await open({}, (own) => own.route('**/api/session', (route) => route.abort()))
    await away.getByRole('heading', { name: 'No answer from the coordinator' }).waitFor()
    found.away = await findings(away)
    await away.context().close()
    expect(found).toEqual({ keyboard: [], delete: [], drill: [], signIn: [], away: [] })
  })

  test('with forced colours and less motion, where shapes are seen and nothing moves by itself', async () => {
    const page = await open({ forcedColors: 'active', reducedMotion: 'reduce' }, (own) =>
      tell(own, () =>
        sampleSnapshot(1, [agent], [runningIncident({ agent_id: agent.id, agent_name: agent.name })]),
      ),
    )
    await page.getByRole('region', { name: `Flight recorder of ${agent.name}` }).waitFor()
    expect(await page.evaluate('matchMedia("(forced-colors: active)").matches')).toBe(true)
    const shapes = await page.evaluate<readonly (readonly [string, string])[]>(
      `[...document.querySelectorAll('svg')].map((svg) =>
        [getComputedStyle(svg).color, getComputedStyle(document.body).backgroundColor])`,
    )
    expect(shapes.length).toBeGreaterThan(2)
    for (const [shape, behind] of shapes) expect(shape).not.toBe(behind)
    const moving = await page.evaluate<number>(
      `document.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 10).length`,
    )
    expect(moving).toBe(0)
    expect(await axeFindings(page)).toEqual([])
    await page.context().close()
  })
})

describe('names', () => {
  const longNamed = [
    '#/',
    '#/?agent=agent-1',
    '#/incidents',
    '#/incidents/ffef6a9a-50c0-4654-abf5-03b50297e321',
    '#/agents/agent-1',
    '#/pools',
    '#/decisions?agent=agent-1',
    '#/lab?target=agent-1',
  ]
  const hostile = [
    `<img src=x onerror="throw 1"><script>throw 2</script>`,
    'x'.repeat(500),
    `\u202e${'שרת '.repeat(40)}`,
    `"><svg onload=throw(3)> javascript:throw 4`,
  ]
  test.each([1280, 390])('of any kind are shown as they are written, at %d px', async (width) => {
    const agents = hostile.map((name, i) =>
      sampleAgent({
        id: `agent-${i}`,
        name,
        reason: name,
        state: 'at-risk',
        replicas: [sampleReplica({ id: `9520f407-c68f-4767-9a36-ca6963a253b${i}`, agent_id: `agent-${i}` })],
      }),
    )
    const incidents = hostile.map((name, i) =>
      sampleIncident({
        id: `ffef6a9a-50c0-4654-abf5-03b50297e32${i}`,
        agent_id: `agent-${i}`,
        agent_name: name,
        outcome_reason: name,
      }),
    )
    const page = await open({ viewport: { width, height: 900 } }, async (own) => {
      await tell(own, () => sampleSnapshot(1, agents, incidents))
      const pools = hostile.map((_, i) => samplePool(`m5.large@us-east-1${'abcd'[i]}`))
      const { said } = await tellReadings(own)
      said.set('pools', { value: { items: pools, next: null } })
    })
    for (const hash of longNamed) {
      await go(page, hash)
      expect([hash, ...(await tooWide(page))]).toEqual([hash])
    }
    await go(page, '#/')
    const shown = await page.getByRole('rowheader').allTextContents()
    for (const name of hostile) expect(shown.map((text) => text.trim())).toContain(name.trim())
    const made = await page.evaluate<number>(`document.querySelectorAll('main :is(img, script)').length`)
    expect(made).toBe(0)
    await page.context().close()
  })
})

describe('what is told', () => {
  test('with a gap in its sequence is asked for anew, and what comes twice changes nothing', async () => {
    const second = sampleAgent({ id: 'agent-2', name: 'second' })
    let agents = [agent]
    let page: Page | undefined
    let told: Awaited<ReturnType<typeof tell>> | undefined
    page = await open({}, async (own) => {
      told = await tell(own, () => sampleSnapshot(1, agents))
    })
    const row = (name: string) => page?.getByRole('rowheader', { name }) as ReturnType<Page['getByRole']>
    await row(agent.name).waitFor()
    agents = [agent, second]
    const patch = { type: 'patch', at: Date.now() } as const
    told?.send({ ...patch, seq: 1, content: { agents: { [agent.id]: null } } })
    told?.send({ ...patch, seq: 2, content: { agents: { [agent.id]: { ...agent, name: 'renamed' } } } })
    await row('renamed').waitFor()
    expect(told?.connections).toBe(1)
    told?.send({ ...patch, seq: 9, content: { agents: { [agent.id]: null } } })
    await row('second').waitFor()
    expect([told?.connections, await row(agent.name).count()]).toEqual([2, 1])
    await page.context().close()
  })

  test('too long ago is grey and nothing can be done from it', async () => {
    let told: Awaited<ReturnType<typeof tell>> | undefined
    const page = await open({}, async (own) => {
      await own.clock.install()
      told = await tell(own, () => sampleSnapshot(1, [agent]))
    })
    const promote = page.getByRole('button', { name: `Promote a replica of ${agent.name}…` })
    await promote.waitFor()
    expect(await promote.getAttribute('title')).toBeNull()
    told?.cut()
    await page.clock.runFor(12_000)
    await page.getByText('Not live.', { exact: true }).waitFor()
    expect(await promote.getAttribute('title')).toBe('Not live: what is shown is too old to act on.')
    expect(await page.locator('main').getAttribute('data-stale')).toBe('true')
    await promote.click({ force: true })
    expect(await page.getByRole('dialog').count()).toBe(0)
    await page.context().close()
  })
})

describe('a promotion', () => {
  const promote = /\/replicas\/[^/]+\/promote$/
  let page: Page
  let plan = samplePlan()
  const keys: (string | undefined)[] = []
  beforeAll(async () => {
    page = await open({}, async (own) => {
      await tell(own, () => sampleSnapshot(1, [agent]))
      await own.route('**/promote?dry_run', (route) => route.fulfill({ json: plan }))
    })
    page.on('request', (request) => {
      if (request.method() === 'POST') keys.push(request.headers()['idempotency-key'])
    })
  })
  afterAll(() => page?.context().close())
  const confirm = () => page.getByRole('button', { name: /^Promote i-/ })

  test('that is refused says why, and what has changed has to be read first', async () => {
    await page.getByRole('button', { name: `Promote a replica of ${agent.name}…` }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByText('Starts serving').waitFor()
    await page.route(promote, (route) => {
      plan = samplePlan({ epoch: 2, stops: { instance_id: 'i-demo009', pool_id: 'm5.large@us-east-1b' } })
      return problem(409, 'conflict', 'the epoch is 2 by now', { epoch: 2 })(route)
    })
    await confirm().click()
    await dialog.getByText('The epoch is 2 by now.').waitFor()
    await dialog.getByText('The facts have changed.').waitFor()
    expect(await confirm().getAttribute('title')).toBe('The facts have changed: read them first.')
    expect(await dialog.getByText('unknown').count()).toBe(0)
    await dialog.getByRole('button', { name: 'I have read the new facts' }).click()
    expect(await confirm().getAttribute('title')).toBeNull()
    await page.unroute(promote)
  })

  test.each([
    ['status 500', problem(500, 'internal', 'something went wrong')],
    ['status 504', problem(504, 'timeout', 'no answer within 25 s')],
    ['no answer', (route: Parameters<ReturnType<typeof problem>>[0]) => route.abort('timedout')],
  ])('with %s has an unknown outcome, and is asked for again as the same wish', async (_, ending) => {
    const dialog = page.getByRole('dialog')
    await page.route(promote, ending)
    keys.length = 0
    const again = dialog.getByRole('button', { name: 'Ask again' })
    await ((await again.count()) > 0 ? again : confirm()).click()
    await dialog.getByText('Still running, or the outcome is unknown.').waitFor()
    await expect.poll(() => keys.length, PATIENT).toBe(1)
    await page.unroute(promote)
  })

  test('sends one key for one wish, however often it is asked for', async () => {
    const before = keys.at(-1)
    await page.route(promote, problem(504, 'timeout', 'no answer within 25 s'))
    await page.getByRole('dialog').getByRole('button', { name: 'Ask again' }).click()
    await expect.poll(() => keys.length, PATIENT).toBe(2)
    expect(before).toMatch(/\w{4}/)
    expect(keys.at(-1)).toBe(before)
  })
})

describe('long work', () => {
  test('an upload that is cut has an unknown outcome; one that is cancelled leaves nothing', async () => {
    const page = await open()
    await go(page, '#/models')
    const upload = /\/ml-models\/upload\?/
    await page.getByLabel('Model (.onnx)').setInputFiles(`${MODEL}/model.onnx`)
    await page.getByLabel('Manifest (.json)').setInputFiles(`${MODEL}/manifest.json`)
    await page.route(upload, (route) => route.abort('connectionreset'))
    await page.getByRole('button', { name: 'Upload model' }).click()
    await page.getByText('The connection was lost during the upload.').waitFor()
    await page.unroute(upload)
    await page.route(upload, () => new Promise(() => undefined))
    await page.getByRole('button', { name: 'Upload model' }).click()
    await page.getByRole('button', { name: 'Cancel the upload' }).click()
    await page.getByText('The upload was cancelled: nothing of it is kept.').waitFor()
    expect((await bench.call('GET', '/api/v1/ml/models/list')).body.items).toEqual([])
    await page.context().close()
  })

  test('a fill shows how far it is and how long it takes, and is cancelled', async () => {
    const task: GapFillTask = {
      task_id: 'gap-fill-9520f407-c68f-4767-9a36-ca6963a253bd',
      model_id: 'model-0123456789ab',
      trigger: 'manual',
      status: 'in_progress',
      percent_complete: 43,
      records_filled: 4210,
      eta_seconds: 40,
      readiness: null,
      unfillable: null,
      fetches: [],
      error: null,
      created_by: 'demo',
      created_at: '2026-11-21T02:40:00.000Z',
      ended_at: null,
    }
    const fills = (...items: GapFillTask[]) => ({ value: { items, next: null } })
    const page = await open({}, async (own) => {
      const { said } = await tellReadings(own)
      said.set('gap-fills', fills(task))
      await own.route(`**/api/v1/ml/gap-filler/status/${task.task_id}`, (route) => {
        if (route.request().method() !== 'DELETE') return route.fallback()
        const cancelled = {
          ...task,
          status: 'cancelled' as const,
          eta_seconds: null,
          ended_at: task.created_at,
        }
        said.set('gap-fills', fills(cancelled))
        return route.fulfill({ json: cancelled })
      })
    })
    await go(page, '#/gap-filler')
    await page.getByText('4,210 prices fetched · 43% of what was missing · about 40 s left').waitFor()
    expect(await page.getByRole('progressbar', { name: 'Fill' }).getAttribute('aria-valuenow')).toBe('43')
    await page.getByRole('button', { name: 'Cancel the fill' }).click()
    await page.getByRole('heading', { name: 'Under way' }).waitFor({ state: 'detached' })
    await page.getByRole('table').getByText('Cancelled').waitFor()
    await page.context().close()
  })
})

test('nothing that was put into the page may run: neither scripts nor styles', async () => {
  const page = await open()
  const policy = (await fetch(bench.url)).headers.get('content-security-policy') ?? ''
  expect(policy).toMatch(/script-src 'self' 'sha256-/)
  expect(policy).not.toMatch(/unsafe-(inline|eval|hashes)/)
  await page.getByText('No agents yet').waitFor()
  complaints.length = 0
  const blocked = await page.evaluate<readonly string[]>(`new Promise((resolve) => {
    const seen = []
    document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => {
      seen.push(effectiveDirective)
      if (seen.length === 3) resolve(seen.sort())
    })
    const script = document.createElement('script')
    script.textContent = 'window.ran = true'
    document.body.append(script)
    const style = document.createElement('style')
    style.textContent = 'body { display: none }'
    document.head.append(style)
    const picture = document.createElement('img')
    picture.setAttribute('onerror', 'window.ran = true')
    document.body.append(picture)
    picture.src = '/no-such-picture'
  })`)
  expect(blocked).toEqual(['script-src-attr', 'script-src-elem', 'style-src-elem'])
  expect(await page.evaluate('window.ran')).toBeUndefined()
  complaints.length = 0
  await page.context().close()
})
