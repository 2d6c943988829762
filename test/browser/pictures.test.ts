import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Json } from '@understudy/shared/core/json-change'
import type { PriceSeries } from '@understudy/shared/protocol/market'
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import {
  sampleAgent,
  sampleDecision,
  sampleDrill,
  sampleIncident,
  samplePool,
  sampleReplica,
  sampleSnapshot,
} from '../../dashboard/src/testkit/samples.ts'
import { type Bench, startBench } from '../contract/bench.ts'
import { launchBrowser } from './chromium.ts'
import { takePicture } from './picture.ts'
import { tell } from './told.ts'
import { tellReadings } from './told-readings.ts'
import { type WatchedPages, watchPages } from './watched-page.ts'

/**
 * Every page in both themes and both widths, as it was when somebody last looked at it: `pictures/` has where everything is and
 * how much of each colour is seen. The browser, its fonts and the time are always the same, so that nothing is left to the machine.
 */

const RENEW = 'if it is meant to look so: pnpm exec vitest run --project browser pictures -u'
const NOW = Date.parse('2026-11-21T02:38:20.000Z')
const POOL = 'm5.large@us-east-1a'

let bench: Bench
let browser: Browser
let pages: WatchedPages
let decoder: Page

beforeAll(async () => {
  bench = await startBench({ mode: 'demo' })
  const chromium = inject('chromium')
  // The fonts that come with the browser, and none of the machine.
  const fonts = join(chromium.directory, 'only-its-fonts.conf')
  const [dir, cache] = [join(chromium.directory, 'fonts'), join(chromium.directory, 'font-cache')]
  writeFileSync(fonts, `<fontconfig><dir>${dir}</dir><cachedir>${cache}</cachedir></fontconfig>`)
  browser = await launchBrowser({ ...chromium, env: { ...chromium.env, FONTCONFIG_FILE: fonts } })
  pages = watchPages(browser, () => bench.url)
  decoder = await browser.newPage()
})
afterAll(async () => {
  await browser?.close()
  await bench?.close()
})
afterEach(() => expect(pages.complaints()).toEqual([]))

const agents = [
  sampleAgent(),
  sampleAgent({ id: 'agent-2', name: 'web-2', state: 'at-risk', reason: 'rebalance recommendation' }),
  sampleAgent({ id: 'agent-3', name: 'web-3', state: 'failed', reason: 'no capacity', replicas: [] }),
  sampleAgent({
    ...{ id: 'agent-4', name: 'web-4', pool_id: 'c6i.large@us-east-1b' },
    replicas: [sampleReplica({ status: 'syncing', sync_percent: 64, ready_at: null })],
  }),
]
const of = { agent_id: 'agent-demo-1', agent_name: 'api-1' }
const incidents = [
  sampleIncident(of),
  sampleIncident({
    ...{ ...of, id: 'ffef6a9a-50c0-4654-abf5-03b50297e32c', outcome: 'failed', success: false },
    ...{ outcome_reason: 'no capacity', detected_at: '2026-11-20T12:00:00.000Z', new_pool_id: null },
  }),
]
const pools = ['a', 'b', 'c', 'd'].flatMap((zone, i) =>
  ['m5.large', 'c6i.large'].map((type) =>
    samplePool(`${type}@us-east-1${zone}`, {
      spot_price: 0.03 + i / 100,
      data_source: i === 2 ? 'interpolated' : 'history',
    }),
  ),
)
const hour = (i: number) => new Date(NOW - (24 - i) * 3_600_000).toISOString()
const prices: PriceSeries = {
  ...{ pool_id: POOL, from: hour(0), to: hour(24), bucket_seconds: 300, decimated: false },
  buckets: { total: 288, primary: 96, replica: 0, history: 96, interpolated: 48, missing: 48 },
  points: Array.from({ length: 24 }, (_, i) =>
    i >= 8 && i < 12
      ? { at: hour(i), price: null, data_source: null, confidence: null }
      : {
          ...{ at: hour(i), price: 0.04 + (i % 5) / 500, confidence: 0.9 },
          data_source:
            i < 8 ? ('history' as const) : i < 16 ? ('interpolated' as const) : ('primary' as const),
        },
  ),
}
const decisions = { items: [sampleDecision(), sampleDecision({ id: 'd2', decision: 'SWITCH' })], next: null }

/** Where the machine shows in values. */
async function settings(): Promise<Json> {
  const { body } = await bench.call('GET', '/api/settings')
  return JSON.parse(
    JSON.stringify(body).replaceAll(/\/[^"]*understudy-contract-[^"/]+/g, '/var/lib/understudy'),
  )
}

/** As it comes over the wire. */
const plain = (value: unknown): Json => JSON.parse(JSON.stringify(value))

async function open(hash: string, needsLogin: boolean): Promise<Page> {
  return pages.open({ colorScheme: 'light', reducedMotion: 'reduce', locale: 'en-US' }, async (own) => {
    await own.clock.install({ time: NOW })
    await own.clock.pauseAt(NOW + 1000)
    const now = () => NOW
    await tell(own, () => ({ ...sampleSnapshot(1, agents, incidents), at: now() }), now)
    await own.addInitScript(`location.hash ||= ${JSON.stringify(hash)}`)
    await own.route('**/api/v1/ml/decisions?*', (route) => route.fulfill({ json: decisions }))
    const { said } = await tellReadings(own)
    said.set('pools', { value: plain({ items: pools, next: null }) })
    said.set('drills', { value: plain({ items: [sampleDrill()], next: null }) })
    said.set('pool-prices', ({ params }) => ({ value: plain({ ...prices, pool_id: params?.id ?? '' }) }))
    said.set('settings', { value: await settings() })
    if (needsLogin)
      await own.route('**/api/session', (route) => route.fulfill({ json: { needs_login: true } }))
  })
}

/** By its own button where there is one, so that what is drawn is drawn anew. */
async function wear(page: Page, theme: 'light' | 'dark'): Promise<void> {
  const button = page.getByRole('button', { name: `${theme === 'dark' ? 'Dark' : 'Light'} theme` })
  if ((await button.count()) > 0) await button.dispatchEvent('click')
  else await page.evaluate(`document.documentElement.dataset.theme = '${theme}'`)
}

const insideMain = (boxes: readonly string[]) => boxes.slice(boxes.findIndex((box) => box.startsWith('main')))

test.each([
  ['fleet', '#/?agent=agent-demo-1'],
  ['agent', '#/agents/agent-demo-1', 2],
  ['incidents', '#/incidents'],
  ['incident', `#/incidents/${incidents[0]?.id}?step=7`],
  ['switches', '#/switches'],
  ['pools', `#/pools?pool=${encodeURIComponent(POOL)}`, 1],
  ['models', '#/models'],
  ['gap-filler', '#/gap-filler'],
  ['lab', '#/lab'],
  ['decisions', '#/decisions'],
  ['engines', '#/engines'],
  ['settings', '#/settings'],
  ['nothing-here', '#/no/such/page'],
  ['sign-in', '#/'],
])('%s looks as it did', async (name, hash, charts = 0) => {
  const page = await open(hash, name === 'sign-in')
  await page.locator('main h1').waitFor()
  await expect.poll(() => page.getByText(/^Loading /).count(), { timeout: 15_000 }).toBe(0)
  await expect.poll(() => page.locator('main canvas').count(), { timeout: 15_000 }).toBe(charts)
  await page.waitForLoadState('networkidle')
  await page.clock.runFor(2000)
  const lines: string[] = []
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 900 })
    const colours: string[] = []
    let first: readonly string[] | undefined
    for (const theme of ['light', 'dark'] as const) {
      await wear(page, theme)
      const picture = await takePicture(page, decoder)
      colours.push(`${theme}: ${picture.colours.join(', ')}`)
      first ??= picture.boxes
      // Another theme moves nothing; above the page is the button that names it.
      expect(insideMain(picture.boxes)).toEqual(insideMain(first))
    }
    lines.push(`${width} px`, ...(first ?? []), ...colours, '')
  }
  await expect(lines.join('\n'), RENEW).toMatchFileSnapshot(`pictures/${name}.txt`)
  await page.context().close()
})
