import type { Page } from 'playwright-core'

/** What a page looks like, in few words: where everything is, and which colours of the theme are how much of it. */
export interface Picture {
  /** One line for each landmark, heading, row and control: what it is, and its box in CSS pixels. */
  readonly boxes: readonly string[]
  /** One line for each colour of the theme that is seen: its name, and about how many pixels have it. */
  readonly colours: readonly string[]
}

/** @param decoder a page without a policy of its own, which reads the pixels */
export async function takePicture(page: Page, decoder: Page): Promise<Picture> {
  await page.evaluate('window.scrollTo(0, 0)')
  // Charts are drawn anew a moment after the page has another width.
  await page.waitForFunction(`[...document.querySelectorAll('.plot')].every((plot) => {
    const { width } = plot.querySelector('canvas')?.getBoundingClientRect() ?? {}
    return Math.abs(width - plot.clientWidth) < 2
  })`)
  const boxes = await page.evaluate<string[]>(`(() => {
    const kinds = 'header, nav, main, section, h1, h2, h3, table, tr, canvas, button, input, select, textarea, summary, dialog'
    const name = (one) => (one.ariaLabel || (one.matches('h1, h2, h3, button, summary') && one.textContent) || '')
      .trim().replace(/\\s+/g, ' ').slice(0, 28)
    return [...document.querySelectorAll(kinds)]
      .filter((one) => one.checkVisibility() && !one.closest('.sr-only, thead'))
      .map((one) => {
        const { left, top, width, height } = one.getBoundingClientRect()
        const box = [left + scrollX, top + scrollY, width, height].map(Math.round)
        return [one.tagName.toLowerCase(), name(one), ...box].filter((part) => part !== '').join(' ')
      })
  })()`)
  const tokens = await page.evaluate<Record<string, readonly number[]>>(`(() => {
    const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules])
    const names = rules.flatMap((rule) => rule.selectorText === ':root' ? [...rule.style].filter((one) => one.startsWith('--')) : [])
    const probe = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
    const element = document.body.appendChild(document.createElement('i'))
    const found = {}
    for (const each of new Set(names)) {
      element.style.color = 'rgb(1, 2, 3)'
      element.style.color = 'var(' + each + ')'
      const colour = getComputedStyle(element).color
      // What is no colour is what is inherited.
      if (colour === getComputedStyle(document.body).color && each !== '--text') continue
      probe.clearRect(0, 0, 1, 1)
      probe.fillStyle = colour
      probe.fillRect(0, 0, 1, 1)
      const [r, g, b, alpha] = probe.getImageData(0, 0, 1, 1).data
      if (alpha === 255) found[each.slice(2)] = [r, g, b]
    }
    element.remove()
    return found
  })()`)
  const png = await page.screenshot({ fullPage: true, animations: 'disabled', caret: 'hide' })
  const colours = await decoder.evaluate<string[]>(`(async () => {
    const image = new Image()
    image.src = 'data:image/png;base64,${png.toString('base64')}'
    await image.decode()
    const canvas = new OffscreenCanvas(image.width, image.height).getContext('2d')
    canvas.drawImage(image, 0, 0)
    const { data } = canvas.getImageData(0, 0, image.width, image.height)
    const pixels = new Uint32Array(data.buffer)
    const counts = new Map()
    for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1)
    // Of what is seldom nobody says that it is seen.
    return Object.entries(${JSON.stringify(tokens)}).flatMap(([name, [r, g, b]]) => {
      const count = counts.get(((255 << 24) | (b << 16) | (g << 8) | r) >>> 0) ?? 0
      return count < 16 ? [] : [name + ' 2^' + Math.round(Math.log2(count))]
    })
  })()`)
  return { boxes, colours }
}
