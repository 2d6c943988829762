import { hrefOf, parseRoute, type Route } from './route.ts'

/** The address of the page as state. */
export class Router {
  readonly #window: Pick<Window, 'location' | 'history' | 'addEventListener'>
  #route = $state.raw<Route>({ page: 'fleet' })

  constructor(window: Pick<Window, 'location' | 'history' | 'addEventListener'>) {
    this.#window = window
    const read = () => {
      this.#route = parseRoute(window.location.hash)
    }
    read()
    window.addEventListener('hashchange', read)
  }

  get route(): Route {
    return this.#route
  }

  /** Keeps the address up to date without a new entry in the history. */
  replace(route: Route): void {
    this.#window.history.replaceState(null, '', hrefOf(route))
    this.#route = route
  }

  /** As if a link to it had been followed. */
  go(route: Route): void {
    this.#window.location.hash = hrefOf(route)
  }
}
