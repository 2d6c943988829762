import type { LivePicture } from '../../api/live-picture.ts'
import { announcementsOf } from './announcements.ts'

/** The words in the two live regions of the page. */
export class Announcer {
  #polite = $state('')
  #urgent = $state('')

  get polite(): string {
    return this.#polite
  }

  get urgent(): string {
    return this.#urgent
  }

  note(before: LivePicture | undefined, after: LivePicture): void {
    const { polite, urgent } = announcementsOf(before, after)
    if (polite.length > 0) this.#polite = polite.join('. ')
    if (urgent.length > 0) this.#urgent = urgent.join('. ')
  }
}
