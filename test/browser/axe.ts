import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AxeResults, RunOptions } from 'axe-core'
import type { Page } from 'playwright-core'

const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

const options: RunOptions = {
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
}

/** What depends on colours alone: enough where the same page was looked at in the other theme. */
const byColour: RunOptions = { runOnly: { type: 'rule', values: ['color-contrast', 'link-in-text-block'] } }

/** What axe finds on the page as it is now, one line each: WCAG 2.2 AA, and good practice beside it. */
export async function axeFindings(page: Page, what: 'all' | 'colours' = 'all'): Promise<readonly string[]> {
  if (await page.evaluate<boolean>('typeof axe === "undefined"')) await page.evaluate(source)
  const wanted = JSON.stringify(what === 'all' ? options : byColour)
  const { violations } = await page.evaluate<AxeResults>(`axe.run(document, ${wanted})`)
  return violations.map(
    ({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`,
  )
}
