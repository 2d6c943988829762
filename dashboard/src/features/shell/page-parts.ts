import type { Clock } from '@understudy/shared/core/time'
import type { Calls } from '../../api/calls.ts'
import type { Http } from '../../api/http.ts'
import type { Live } from '../../api/live.svelte.ts'
import type { LivePicture } from '../../api/live-picture.ts'
import type { Readings } from '../../api/readings.svelte.ts'
import type { Session } from '../../api/session.svelte.ts'
import type { Route } from '../../route.ts'
import type { Router } from '../../router.svelte.ts'
import type { Theme } from '../../ui/theme.svelte.ts'
import type { Ticker } from '../../ui/ticker.svelte.ts'
import type { FleetActions } from '../fleet/fleet-actions.svelte.ts'
import type { StatusLine } from './status-line.svelte.ts'

/** What the app gives to a page that is loaded when it is first looked at. */
export interface PageParts {
  readonly http: Http
  readonly calls: Calls
  readonly clock: Clock
  readonly live: Live
  readonly readings: Readings
  readonly picture: LivePicture
  readonly actions: FleetActions
  readonly line: StatusLine
  readonly router: Router
  readonly theme: Theme
  /** Twice a second. */
  readonly calm: Ticker
  /** As often as a bar can be seen to grow. */
  readonly quick: Ticker
  /** What is shown is too old to act on. */
  readonly stale: boolean
  /** Why nothing may be changed now; undefined when it may. */
  readonly blocked: string | undefined
  /** May do what takes the role admin. */
  readonly isAdmin: boolean
  /** To be called when a socket of the page was lost: perhaps because nobody is signed in any more. */
  lost(): void
}

export interface PageProps<P extends Route['page']> {
  readonly app: PageParts
  readonly route: Extract<Route, { page: P }>
}

/** One object for as long as the app lives: a page is not to begin anew with every frame. */
export const createPageParts = ({
  session,
  ...parts
}: Omit<PageParts, 'picture' | 'stale' | 'blocked' | 'isAdmin' | 'lost'> & {
  readonly session: Session
}): PageParts => ({
  ...parts,
  get picture() {
    const { picture } = parts.live
    if (!picture) throw new Error('a page is shown before there is a picture')
    return picture
  },
  get stale() {
    return parts.live.stale || parts.readings.stale
  },
  get blocked() {
    return parts.actions.blocked
  },
  get isAdmin() {
    const { state } = session
    return state.kind === 'signed-in' && state.role === 'admin'
  },
  lost: () => void session.ask(),
})
