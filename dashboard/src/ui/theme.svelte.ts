export type ThemeName = 'light' | 'dark'

/** The script in index.html reads it. */
export const THEME_KEY = 'understudy.theme'

/** Light or dark. The script in index.html has chosen before this runs; from then on this is the one that changes it. */
export class Theme {
  readonly #root: HTMLElement
  readonly #keep: (name: ThemeName) => void
  #name = $state<ThemeName>('light')

  constructor(root: HTMLElement, keep: (name: ThemeName) => void) {
    this.#root = root
    this.#keep = keep
    this.#name = root.dataset.theme === 'dark' ? 'dark' : 'light'
  }

  get name(): ThemeName {
    return this.#name
  }

  get other(): ThemeName {
    return this.#name === 'dark' ? 'light' : 'dark'
  }

  toggle(): void {
    const name = this.other
    // At once, not in an effect: whatever reads colours while it redraws has to find the new ones.
    this.#root.dataset.theme = name
    this.#name = name
    try {
      this.#keep(name)
    } catch {
      // Where nothing may be kept, the choice lasts as long as the page.
    }
  }
}
