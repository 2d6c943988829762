import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { seconds } from '@understudy/shared/core/time'
import type { Browser, Page } from 'playwright-core'
import { buildDashboard } from '../../.ci/dashboard-build.ts'
import { findPrograms } from '../../coordinator/src/commands/demo.ts'
import { demoAgents, startFleet } from '../../coordinator/src/demo/fleet-story.ts'
import { hasReadyReplica, primaryOf, type Rig, startRig, untilAgent } from '../../coordinator/src/demo/rig.ts'
import { launchBrowser, removeChromium, unpackChromium } from './chromium.ts'

/** The pictures of the README and of the documentation, taken of the real system after a real failover. */

const HERO = 'agent-demo-2'
const folder = fileURLToPath(new URL('../../docs/screenshots', import.meta.url))

async function main(): Promise<void> {
  await buildDashboard()
  await mkdir(folder, { recursive: true })
  const chromium = await unpackChromium()
  const story: { at: number; text: string }[] = []
  const say = (text: string) => void story.push({ at: Date.now(), text })
  let counters: readonly unknown[] = []
  const rig = await startRig({
    seed: 1,
    programs: findPrograms(),
    coordinatorEnv: { UNDERSTUDY_DEFAULT_MODEL: 'true' },
    onCounters: (all) => {
      counters = all.map(({ agent, ...rest }) => ({ agent_id: agent, ...rest }))
    },
  })
  const show = setInterval(
    () => void rig.operator.show({ seed: 1, story, counters }).catch(() => undefined),
    500,
  )
  try {
    await startFleet(rig, demoAgents(5), 20, say)
    await interruptHero(rig, say)
    const browser = await launchBrowser(chromium)
    try {
      await takeAll(browser, rig.coordinator.url)
    } finally {
      await browser.close()
    }
  } finally {
    clearInterval(show)
    await rig.close()
    await removeChromium(chromium)
  }
}

async function interruptHero(rig: Rig, say: (text: string) => void): Promise<void> {
  const before = await untilAgent(rig.operator, HERO, 'a ready replica', hasReadyReplica)
  const old = primaryOf(before)
  say(`${before.name}: interruption notice, 120 s`)
  rig.cloud.interrupt(old, seconds(120))
  await untilAgent(
    rig.operator,
    HERO,
    'the move',
    (agent) => agent.phase === 'steady' && primaryOf(agent) !== old,
  )
  await untilAgent(rig.operator, HERO, 'a replacement', hasReadyReplica)
  say(`${before.name}: the new replica is ready. Your turn: press Interrupt on any agent`)
}

/** Every page at 1280 px in both themes; what differs most on a small screen also at 390 px. */
const pages: readonly {
  readonly name: string
  readonly hash: string
  readonly prepare?: (page: Page) => Promise<void>
}[] = [
  { name: 'fleet', hash: '#/' },
  { name: 'agent', hash: `#/agents/${HERO}` },
  { name: 'incidents', hash: '#/incidents' },
  {
    name: 'incident',
    hash: '#/incidents',
    async prepare(page) {
      await page
        .getByRole('table')
        .getByRole('link', { name: /^web-1 moved/ })
        .first()
        .click()
      await page.getByRole('button', { name: 'Epoch moved' }).click()
    },
  },
  { name: 'switches', hash: '#/switches' },
  { name: 'pools', hash: '#/pools?pool=m5.large%40us-east-1a' },
  { name: 'models', hash: '#/models' },
  {
    name: 'model',
    hash: '#/models',
    async prepare(page) {
      await page
        .getByRole('table')
        .getByRole('link', { name: /^price-instability 1/ })
        .first()
        .click()
      await page.getByRole('heading', { name: 'Features' }).waitFor()
    },
  },
  { name: 'gap-filler', hash: '#/gap-filler' },
  { name: 'lab', hash: '#/lab' },
  {
    name: 'decisions',
    hash: '#/decisions',
    async prepare(page) {
      await page.getByRole('listitem').filter({ hasText: 'web-1' }).getByRole('button').first().click()
      await page.getByText('Safety gate').waitFor()
    },
  },
  {
    name: 'engines',
    hash: '#/engines',
    async prepare(page) {
      await page.getByRole('heading', { name: 'Try it' }).waitFor()
    },
  },
  { name: 'settings', hash: '#/settings' },
]

async function takeAll(browser: Browser, url: string): Promise<void> {
  await take(browser, url, 'promote-dialog-dark', 'dark', 1280, async (page) => {
    await page.getByRole('button', { name: /^Promote a replica of api-1/ }).click()
    await page.getByText('Starts serving').waitFor()
  })
  const decided = await fetch(`${url}/api/v1/ml/decisions/run`, {
    method: 'POST',
    headers: { connection: 'close' },
  })
  await decided.text()
  for (const theme of ['light', 'dark'] as const)
    for (const { name, hash, prepare } of pages)
      await take(browser, `${url}/${hash}`, `${name}-${theme}-1280`, theme, 1280, prepare)
  await take(browser, url, 'fleet-light-390', 'light', 390)
  await take(browser, `${url}/#/pools`, 'pools-dark-390', 'dark', 390)
}

async function take(
  browser: Browser,
  url: string,
  name: string,
  colorScheme: 'light' | 'dark',
  width: number,
  prepare: (page: Page) => Promise<void> = async () => {},
): Promise<void> {
  const context = await browser.newContext({
    colorScheme,
    viewport: { width, height: 1000 },
    reducedMotion: 'reduce',
  })
  const page = await context.newPage()
  await page.goto(url)
  await page.locator('main h1').waitFor()
  await page
    .getByText(/^Loading /)
    .first()
    .waitFor({ state: 'detached' })
  await prepare(page)
  // Long enough for the first second of numbers to settle.
  await page.waitForTimeout(1500)
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: !name.startsWith('promote') })
  await context.close()
}

await main()
