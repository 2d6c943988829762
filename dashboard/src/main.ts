import { millis, systemClock } from '@understudy/shared/core/time'
import { mount } from 'svelte'
import App from './App.svelte'
import { createCalls } from './api/calls.ts'
import { createHttp, newKey } from './api/http.ts'
import { Live } from './api/live.svelte.ts'
import { createLiveFeed } from './api/live-feed.ts'
import { Readings } from './api/readings.svelte.ts'
import { Session } from './api/session.svelte.ts'
import { FleetActions } from './features/fleet/fleet-actions.svelte.ts'
import { Keyboard, SHORTCUTS_KEY } from './features/keyboard/keyboard.svelte.ts'
import { showRecorder } from './features/recorder/show-recorder.ts'
import { Announcer } from './features/shell/announcer.svelte.ts'
import { createPageParts } from './features/shell/page-parts.ts'
import { StatusLine } from './features/shell/status-line.svelte.ts'
import { Router } from './router.svelte.ts'
import { THEME_KEY, Theme } from './ui/theme.svelte.ts'
import { createTicker } from './ui/ticker.svelte.ts'
import './styles/tokens.css'
import './styles/base.css'
import './styles/tables.css'

const lessMotion = matchMedia('(prefers-reduced-motion: reduce)')
const clock = systemClock
const calm = createTicker(clock, () => millis(lessMotion.matches ? 1000 : 500))
const quick = createTicker(clock, () => millis(lessMotion.matches ? 1000 : 100))

const http = createHttp(window.fetch.bind(window), () => session.ended())
const calls = createCalls(http)
const session = new Session(calls, clock)
const announcer = new Announcer()
const live = new Live(clock, calm, (before, after) => announcer.note(before, after))
const feed = createLiveFeed({
  open: () => new WebSocket('/api/live'),
  clock,
  random: Math.random,
  onPicture: (picture, heardAt) => live.receive(picture, heardAt),
  onLost(tries) {
    live.lost(tries)
    // A browser does not say why a WebSocket was refused; the session call does.
    void session.ask()
  },
})
const readings = new Readings({
  open: () => new WebSocket('/api/live/readings'),
  clock,
  random: Math.random,
  ticker: calm,
  onLost: () => void session.ask(),
})
const line = new StatusLine(clock)
const actions = new FleetActions({
  calls,
  line,
  clock,
  newKey,
  blocked: () =>
    live.stale || readings.stale ? 'Not live: what is shown is too old to act on.' : session.blocked,
  showRecorder: () => void showRecorder(),
})
window.addEventListener('online', () => {
  if (session.state.kind === 'signed-in') feed.retry()
  readings.retry()
})

const router = new Router(window)
const theme = new Theme(document.documentElement, (name) => localStorage.setItem(THEME_KEY, name))

const keyboard = new Keyboard({
  router,
  clock,
  document,
  keep: (value) => localStorage.setItem(SHORTCUTS_KEY, value),
  kept: () => localStorage.getItem(SHORTCUTS_KEY),
})
window.addEventListener('keydown', (event) => session.state.kind === 'signed-in' && keyboard.press(event))

const target = document.getElementById('app')
if (target)
  mount(App, {
    target,
    props: {
      app: createPageParts({
        ...{ http, calls, clock, live, readings, actions, line, router, theme, calm, quick, session },
      }),
      calls,
      session,
      live,
      feed,
      readings,
      line,
      actions,
      announcer,
      router,
      theme,
      keyboard,
      calm,
      quick,
    },
  })
void session.ask()
