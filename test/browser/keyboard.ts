import type { Locator, Page } from 'playwright-core'

/** More stops than any page has. */
const MOST_STOPS = 250

export const isFocused = async (target: Locator): Promise<boolean> =>
  (await target.and(target.page().locator(':focus')).count()) === 1

/** Goes there by Tab alone, from where the focus is. */
export async function tabTo(target: Locator, key: 'Tab' | 'Shift+Tab' = 'Tab'): Promise<void> {
  const page = target.page()
  for (let stop = 0; stop < MOST_STOPS; stop += 1) {
    await page.keyboard.press(key)
    if (await isFocused(target)) return
  }
  throw new Error(`${key} does not lead to ${target}`)
}

/** Goes there by Tab and presses Enter. */
export async function enter(target: Locator): Promise<void> {
  await tabTo(target)
  await target.page().keyboard.press('Enter')
}

/**
 * Walks all stops of the page by Tab until it is back where it was. What can be used and was never come to is returned: nothing,
 * unless a part of the page holds the focus or is left out.
 */
export async function neverReached(page: Page): Promise<readonly string[]> {
  await page.evaluate(`{
    const visible = (one) => one.checkVisibility({ visibilityProperty: true }) && one.tabIndex >= 0
    const all = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')]
    window.toReach = new Set(all.filter(visible))
    window.reached = new Set()
    document.activeElement.blur()
  }`)
  for (let stop = 0; stop < MOST_STOPS; stop += 1) {
    await page.keyboard.press('Tab')
    const isBack = await page.evaluate<boolean>(`(() => {
      const here = document.activeElement
      if (reached.has(here)) return true
      reached.add(here)
      toReach.delete(here)
      return false
    })()`)
    if (isBack) break
  }
  return page.evaluate<string[]>(
    `[...toReach].filter((one) => one.isConnected).map((one) => one.outerHTML.slice(0, 120))`,
  )
}
