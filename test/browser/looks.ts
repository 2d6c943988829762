import type { Page } from 'playwright-core'
import { axeFindings } from './axe.ts'

/** What makes the page wider than the screen; nothing when it is not. */
export const tooWide = (page: Page) =>
  page.evaluate<readonly string[]>(`(() => {
    const { scrollWidth, clientWidth } = document.documentElement
    if (scrollWidth <= clientWidth) return []
    const wide = [...document.querySelectorAll('body *:not(thead, thead *, .sr-only)')].filter((one) => {
      const { left, width } = one.getBoundingClientRect()
      return left + Math.max(width, one.scrollWidth) > clientWidth + 1
    })
    return ['wider than the screen', ...wide.slice(-6).map((one) => one.tagName + '.' + one.className)]
  })()`)

const looks = [
  { width: 1280, theme: 'light', what: 'all' },
  { width: 1280, theme: 'dark', what: 'colours' },
  { width: 390, theme: 'dark', what: 'all' },
  { width: 390, theme: 'light', what: 'colours' },
] as const

/** What is wrong with the page in any of the four looks; each is the same page, drawn anew. */
export async function findings(page: Page): Promise<readonly string[]> {
  const found: string[] = []
  for (const { width, theme, what } of looks) {
    await page.setViewportSize({ width, height: 900 })
    await page.evaluate(`document.documentElement.dataset.theme = '${theme}'`)
    const told = [...(await axeFindings(page, what)), ...(await tooWide(page))]
    found.push(...told.map((line) => `${width} ${theme}: ${line}`))
  }
  return found
}
