import type { Clock } from '@understudy/shared/core/time'
import type { Router } from '../../router.svelte.ts'
import { nextRow, readPress, type Waiting } from './shortcuts.ts'

export const SHORTCUTS_KEY = 'understudy.shortcuts'

export interface KeyboardPorts {
  readonly router: Pick<Router, 'go'>
  readonly clock: Pick<Clock, 'mono'>
  readonly document: Document
  /** The choice, for the next visit. May throw where nothing may be kept. */
  readonly keep: (value: 'on' | 'off') => void
  readonly kept: () => string | null
}

/**
 * Shortcuts of single letters. They can be switched off (WCAG 2.1.4), and are no shortcuts where letters are typed, with a
 * modifier, or while a dialog is open.
 */
export class Keyboard {
  readonly #ports: KeyboardPorts
  #on = $state(true)
  #listed = $state(false)
  #waiting: Waiting | undefined

  constructor(ports: KeyboardPorts) {
    this.#ports = ports
    try {
      this.#on = ports.kept() !== 'off'
    } catch {
      this.#on = true
    }
  }

  get on(): boolean {
    return this.#on
  }

  /** The list of shortcuts is open. */
  get listed(): boolean {
    return this.#listed
  }

  list(): void {
    this.#listed = true
  }

  close(): void {
    this.#listed = false
  }

  switch(on: boolean): void {
    this.#on = on
    try {
      this.#ports.keep(on ? 'on' : 'off')
    } catch {
      // Where nothing may be kept, the choice lasts as long as the page.
    }
  }

  press(event: KeyboardEvent): void {
    if (!this.#on || event.defaultPrevented || event.isComposing) return
    const { waiting, command } = readPress(this.#waiting, {
      key: event.key,
      modified: event.ctrlKey || event.altKey || event.metaKey,
      taken: takesLetters(event.target) || this.#ports.document.querySelector('dialog[open]') !== null,
      at: this.#ports.clock.mono(),
    })
    this.#waiting = waiting
    if (!command) return
    // Held down, only rows go on.
    if (event.repeat && command.kind !== 'row') return
    event.preventDefault()
    if (command.kind === 'help') this.list()
    else if (command.kind === 'go') this.#ports.router.go(command.to)
    else if (command.kind === 'filter') this.#focusFilter()
    else this.#walk(command.step)
  }

  #focusFilter(): void {
    const field = this.#ports.document.querySelector<HTMLElement>('main :is([type=search], [data-filter])')
    field?.focus()
    if (field instanceof HTMLInputElement) field.select()
  }

  /** Rows are links or buttons that say so. */
  #walk(step: 1 | -1): void {
    const rows = [...this.#ports.document.querySelectorAll<HTMLElement>('main [data-walk]')]
    const focused = rows.indexOf(this.#ports.document.activeElement as HTMLElement)
    rows[nextRow(focused, step, rows.length) ?? -1]?.focus()
  }
}

const takesLetters = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement &&
  (target.closest('input, textarea, select') !== null || target.isContentEditable)
