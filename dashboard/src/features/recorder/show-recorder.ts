import { tick } from 'svelte'

/** Somebody has set a move going: reading goes on at the recorder, and so does a screen reader. */
export async function showRecorder(): Promise<void> {
  await tick()
  document.querySelector<HTMLElement>('[data-recorder-title]')?.focus()
}
