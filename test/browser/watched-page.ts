import type { Browser, BrowserContextOptions, Page } from 'playwright-core'

/** Pages of one coordinator, and what they complained about. */
export interface WatchedPages {
  /** Opens a page of its own, as somebody new; `prepare` is called before anything is loaded. */
  open(options?: BrowserContextOptions, prepare?: (page: Page) => Promise<unknown>): Promise<Page>
  /** What went wrong on any page since it was last asked for. */
  complaints(): readonly string[]
}

/** What is not there, or was refused on purpose, the browser tells too; anything else is a fault. */
const EXPECTED = /^Failed to load resource|^WebSocket connection to/

/** No page may report an error of its own or ask another host. */
export function watchPages(browser: Browser, url: () => string): WatchedPages {
  const complaints: string[] = []
  return {
    async open(options = {}, prepare = async () => {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })
      context.setDefaultTimeout(15_000)
      const page = await context.newPage()
      page.on('console', (message) => {
        if (message.type() === 'error' && !EXPECTED.test(message.text())) complaints.push(message.text())
      })
      page.on('pageerror', (error) => complaints.push(String(error)))
      page.on('request', (request) => {
        if (!request.url().startsWith(url())) complaints.push(`asked ${request.url()}`)
      })
      await prepare(page)
      await page.goto(url())
      return page
    },
    complaints: () => complaints.splice(0),
  }
}
