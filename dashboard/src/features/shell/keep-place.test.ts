import { afterEach, beforeEach, expect, it } from 'vitest'
import { keepPlace } from './keep-place.ts'

let end: () => void
const by = (id: string) => document.getElementById(id) as HTMLElement
/** Changes of the page are told a moment later. */
const told = () => new Promise((resolve) => setTimeout(resolve))
const focused = () => document.activeElement?.id

beforeEach(() => {
  document.body.innerHTML = `<main id="main">
    <h1 id="title">Models</h1>
    <section id="uploads">
      <h2 id="heading">Uploads</h2>
      <p id="around"><button id="done">Activate</button></p>
      <button id="other">Other</button>
    </section>
  </main>`
  end = keepPlace(by('main'))
})
afterEach(() => end())

it('goes on at the heading of what the gone one was in', async () => {
  by('done').focus()
  by('around').remove()
  await told()
  expect(focused()).toBe('heading')
})

it('goes on further out where all of it is gone', async () => {
  by('done').focus()
  by('uploads').remove()
  await told()
  expect(focused()).toBe('title')
})

it('goes on where a dialog was opened from, whose button is gone when it closes', async () => {
  by('done').focus()
  by('main').insertAdjacentHTML(
    'beforeend',
    '<dialog open id="dialog"><button id="yes">Yes</button></dialog>',
  )
  by('yes').focus()
  by('around').remove()
  await told()
  expect(focused()).toBe('yes')
  by('dialog').remove()
  await told()
  expect(focused()).toBe('heading')
})

it('leaves alone who is somewhere else by then', async () => {
  by('done').focus()
  by('other').focus()
  by('around').remove()
  await told()
  expect(focused()).toBe('other')
})

it('leaves alone who has left it for nothing', async () => {
  by('done').focus()
  by('done').blur()
  await told()
  by('around').remove()
  await told()
  expect(document.activeElement).toBe(document.body)
})

it('leaves alone what only moves', async () => {
  by('done').focus()
  by('uploads').append(by('around'))
  by('done').focus()
  await told()
  expect(focused()).toBe('done')
})
