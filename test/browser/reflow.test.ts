import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import {
  sampleAgent,
  sampleDrill,
  sampleIncident,
  samplePlan,
  samplePool,
  sampleReplica,
  sampleSnapshot,
} from '../../dashboard/src/testkit/samples.ts'
import { type Bench, startBench } from '../contract/bench.ts'
import { axeFindings } from './axe.ts'
import { launchBrowser } from './chromium.ts'
import { tell } from './told.ts'
import { type WatchedPages, watchPages } from './watched-page.ts'

/** Fleet and agent for who needs everything larger: at 200%, and at 320 px, which is 1280 px at 400% (WCAG 1.4.10). */

let bench: Bench
let browser: Browser
let pages: WatchedPages

beforeAll(async () => {
  bench = await startBench({ mode: 'demo' })
  browser = await launchBrowser(inject('chromium'))
  pages = watchPages(browser, () => bench.url)
})
afterAll(async () => {
  await browser?.close()
  await bench?.close()
})
afterEach(() => expect(pages.complaints()).toEqual([]))

const syncing = sampleReplica({
  id: '9520f407-c68f-4767-9a36-ca6963a253b1',
  ...{ status: 'syncing', sync_percent: 64, bytes_done: 640_000_000, bytes_total: 1_000_000_000 },
  ...{ ready_at: null, bytes_per_second: 12_000_000 },
})
const agents = [
  sampleAgent({
    replicas: [sampleReplica(), syncing],
    degraded: [
      { code: 'copy_differed', message: 'A file of the replica differed.', hint: 'It was sent again.' },
    ],
  }),
  sampleAgent({ id: 'agent-2', name: 'web-2', state: 'at-risk', reason: 'rebalance recommendation' }),
]
const [agent] = agents
const incident = sampleIncident({ agent_id: agent?.id ?? '', agent_name: agent?.name ?? '' })
const pools = 'abcdef'
  .split('')
  .flatMap((zone) => ['m5.large', 'c6i.large'].map((type) => samplePool(`${type}@us-east-1${zone}`)))

async function tellAll(page: Page): Promise<void> {
  await tell(page, () => ({ ...sampleSnapshot(1, agents, [incident]), at: Date.now() }))
  await page.route('**/api/pools?*', (route) => route.fulfill({ json: { items: pools, next: null } }))
  await page.route('**/promote?dry_run', (route) => route.fulfill({ json: samplePlan() }))
  await page.route('**/drills*', (route) => route.fulfill({ json: { items: [sampleDrill()] } }))
}

/**
 * What can be read or used and is cut: words wider or higher than what shows them, controls that reach out of the screen. What
 * is scrolled by itself may be wider, as a table of all zones is, where the whole of it can be scrolled to.
 */
const cut = (page: Page) =>
  page.evaluate<readonly string[]>(`(() => {
    const { clientWidth, scrollWidth } = document.documentElement
    const found = scrollWidth > clientWidth ? ['the page: ' + scrollWidth + ' of ' + clientWidth + ' px'] : []
    const name = (one) => one.tagName.toLowerCase() + '.' + one.className + ': ' + one.textContent.trim().slice(0, 40)
    const scrolls = (one) => one && (/auto|scroll/.test(getComputedStyle(one).overflowX) || scrolls(one.parentElement))
    for (const one of document.querySelectorAll('body *:not(.sr-only, .sr-only *, thead, thead *, option, svg, svg *)')) {
      if (!one.checkVisibility() || one.closest('[aria-hidden=true]')) continue
      const style = getComputedStyle(one)
      const box = one.getBoundingClientRect()
      const hides = style.overflowX === 'hidden' || style.overflowX === 'clip'
      if (hides && (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1))
        found.push('hidden in ' + name(one))
      const isUsed = one.matches('a, button, input, select, textarea, summary, h1, h2, h3, p, td, th, dd, dt, li')
      if (isUsed && !scrolls(one.parentElement) && (box.right > clientWidth + 1 || box.left < -1))
        found.push('outside: ' + name(one))
    }
    return found
  })()`)

test.each([
  { what: '200%', viewport: { width: 640, height: 450 }, deviceScaleFactor: 2 },
  { what: '400%', viewport: { width: 320, height: 256 }, deviceScaleFactor: 4 },
])(
  'at $what nothing is cut, nothing is wider than the screen, and axe finds nothing',
  async ({ viewport, deviceScaleFactor }) => {
    const page = await pages.open({ viewport, deviceScaleFactor }, tellAll)
    const found: Record<string, readonly string[]> = {}
    const look = async (place: string) => {
      found[place] = [...(await cut(page)), ...(await axeFindings(page))]
    }
    await page.getByRole('link', { name: agent?.name ?? '', exact: true }).click()
    await page.getByRole('region', { name: `Replicas of ${agent?.name}` }).waitFor()
    await look('fleet')
    await page.getByRole('button', { name: 'Epoch moved' }).click()
    await look('a step')
    await page.getByRole('button', { name: `Promote a replica of ${agent?.name}…` }).click()
    await page.getByRole('dialog').getByText('Starts serving').waitFor()
    await look('dialog')
    await page.keyboard.press('Escape')
    await page.evaluate(`location.hash = '#/agents/${agent?.id}'`)
    await page.getByRole('heading', { name: 'Sync lag' }).waitFor()
    await expect.poll(() => page.getByText(/^Loading /).count(), { timeout: 15_000 }).toBe(0)
    await look('agent')
    expect(found).toEqual({ fleet: [], 'a step': [], dialog: [], agent: [] })
    // The focus is not hidden by what stays on top of the page.
    await page.evaluate('window.scrollTo(0, 0)')
    for (let stop = 0; stop < 60; stop += 1) {
      await page.keyboard.press('Tab')
      const hidden = await page.evaluate<string | null>(`(() => {
      const here = document.activeElement
      if (!here || here === document.body || here.matches('.skip')) return null
      const { left, top, width, height } = here.getBoundingClientRect()
      const seen = [0.5, 0.1, 0.9].some((part) => {
        const at = document.elementFromPoint(left + width / 2, Math.min(top + height * part, innerHeight - 1))
        return at && (here.contains(at) || at.contains(here))
      })
      return seen ? null : here.outerHTML.slice(0, 100)
    })()`)
      expect(hidden).toBeNull()
    }
    await page.context().close()
  },
)
