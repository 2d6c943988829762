import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterEach, describe, expect, it } from 'vitest'
import type { Route } from '../../route.ts'
import { Keyboard } from './keyboard.svelte.ts'

const gone: Route[] = []
const kept: string[] = []
let keyboard: Keyboard
const listen = (event: KeyboardEvent) => keyboard.press(event)

function page(html: string, before: string | null = null): void {
  document.body.innerHTML = html
  keyboard = new Keyboard({
    router: { go: (route) => void gone.push(route) },
    clock: createVirtualTime().clock,
    document,
    keep: (value) => void kept.push(value),
    kept: () => before,
  })
  document.addEventListener('keydown', listen)
}
const press = (key: string, more: KeyboardEventInit = {}) => {
  const event = new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more })
  ;(document.activeElement ?? document.body).dispatchEvent(event)
  return event.defaultPrevented
}
const focused = () => document.activeElement?.id
const rows = '<main><a id="a" href="#a" data-walk>a</a><button id="b" data-walk>b</button></main>'

afterEach(() => {
  document.removeEventListener('keydown', listen)
  gone.length = 0
  kept.length = 0
})

describe('the keyboard', () => {
  it('goes to a page, and leaves the keys of the browser alone', () => {
    page(rows)
    expect([press('g'), press('d')]).toEqual([false, true])
    expect(gone).toEqual([{ page: 'decisions' }])
    expect([press('k', { ctrlKey: true }), press('x'), press('j', { metaKey: true })]).toEqual([
      false,
      false,
      false,
    ])
    expect(focused()).toBe('')
  })

  it('walks what says that it is a row', () => {
    page(rows)
    press('j')
    expect(focused()).toBe('a')
    press('j', { repeat: true })
    expect(focused()).toBe('b')
    press('k')
    expect(focused()).toBe('a')
  })

  it('goes to the filter with its text chosen, and types there what is typed', () => {
    page('<main><input id="filter" type="search" value="m5"></main>')
    expect(press('/')).toBe(true)
    expect(focused()).toBe('filter')
    expect((document.activeElement as HTMLInputElement).selectionEnd).toBe(2)
    for (const key of ['/', '?', 'g', 'f', 'j']) expect(press(key)).toBe(false)
    expect([gone, keyboard.listed]).toEqual([[], false])
  })

  it.each([
    '<select id="x"><option>f</option></select>',
    '<textarea id="x"></textarea>',
    '<input id="x" type="checkbox">',
  ])('is nothing in %s', (field) => {
    page(`<main>${field}</main>`)
    document.querySelector<HTMLElement>('#x')?.focus()
    expect(press('?')).toBe(false)
    expect(keyboard.listed).toBe(false)
  })

  it('is nothing while a dialog is open', () => {
    page(`${rows}<dialog open><button id="x">x</button></dialog>`)
    expect([press('j'), press('g'), press('f'), press('?')]).toEqual([false, false, false, false])
    expect(gone).toEqual([])
  })

  it('can be switched off, also for the next visit, and on again', () => {
    page(rows)
    keyboard.switch(false)
    expect(press('?')).toBe(false)
    expect([keyboard.listed, kept]).toEqual([false, ['off']])
    document.removeEventListener('keydown', listen)
    page(rows, 'off')
    expect(press('?')).toBe(false)
    keyboard.switch(true)
    expect(press('?', { shiftKey: true })).toBe(true)
    expect(keyboard.listed).toBe(true)
  })
})
