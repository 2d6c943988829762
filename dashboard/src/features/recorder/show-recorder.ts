import { tick } from 'svelte'

const TITLE = '[data-recorder-title]'

/** Somebody has set a move going: reading goes on at the recorder, and so does a screen reader. */
export async function showRecorder(): Promise<void> {
  await tick()
  document.querySelector<HTMLElement>(TITLE)?.focus()
}

/** Reading goes on there now. */
export const isAtRecorder = (): boolean => document.activeElement?.matches(TITLE) ?? false
