/**
 * The library for drawing is loaded when the first chart is looked at. While it is loaded it asks for the number format of
 * the browser's language, and ends where that is none (`en-US@posix` of a browser without a locale).
 */
export async function loadPlot(): Promise<typeof import('./plot.ts').createPlot> {
  if (!isLanguage(navigator.language))
    Object.defineProperty(navigator, 'language', { value: 'en-US', configurable: true })
  return (await import('./plot.ts')).createPlot
}

function isLanguage(tag: string): boolean {
  try {
    return Intl.NumberFormat.supportedLocalesOf(tag).length >= 0
  } catch {
    return false
  }
}
