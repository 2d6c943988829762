import type { AgentView } from '@understudy/shared/protocol/agents'
import type { LiveFrame } from '@understudy/shared/protocol/live'
import { createVirtualTime, type VirtualTime } from '@understudy/shared/testkit/virtual-time'
import { beforeEach, describe, expect, it } from 'vitest'
import { runningIncident, sampleAgent, sampleSnapshot } from '../testkit/samples.ts'
import { Live } from './live.svelte.ts'
import { applyFrame, type LivePicture } from './live-picture.ts'

let time: VirtualTime
let live: Live
let picture: LivePicture | undefined
let shows: number

beforeEach(() => {
  time = createVirtualTime()
  picture = undefined
  shows = 0
  const ticker = {
    get now() {
      return time.clock.mono()
    },
  }
  live = new Live(time.clock, ticker, () => {
    shows += 1
  })
})

function hear(frame: LiveFrame): void {
  const outcome = applyFrame(picture, frame)
  if (typeof outcome === 'string') throw new Error(outcome)
  picture = outcome.picture
  live.receive(picture, time.clock.mono())
}

const change = (seq: number, changes: Partial<AgentView>): LiveFrame => ({
  type: 'patch',
  seq,
  at: 1_000_000 + seq,
  content: { agents: { 'agent-demo-1': sampleAgent(changes) } },
})
const shownAgent = () => live.picture?.agents.get('agent-demo-1')

describe('what is shown', () => {
  it('is the first snapshot at once', () => {
    hear(sampleSnapshot(1))
    expect(live.picture?.seq).toBe(1)
  })

  it('changes figures twice a second at most', async () => {
    hear(sampleSnapshot(1))
    for (let seq = 2; seq <= 6; seq += 1) {
      hear(change(seq, { lag_ms: seq }))
      await time.advance(100)
    }
    expect(shownAgent()?.lag_ms).toBe(6)
    expect(shows).toBe(2)
  })

  it('changes at once when something happens', () => {
    hear(sampleSnapshot(1))
    hear(change(2, { state: 'draining' }))
    expect(shownAgent()?.state).toBe('draining')
    hear({ type: 'patch', seq: 3, at: 1, content: { incidents: { x: runningIncident({ id: 'x' }) } } })
    expect(live.picture?.incidents.size).toBe(1)
  })

  it('is stale when nothing new has come for 10 s', async () => {
    hear(sampleSnapshot(1))
    await time.advance(9999)
    expect(live.stale).toBe(false)
    await time.advance(1)
    expect(live.stale).toBe(true)
    expect(live.ageMillis).toBe(10_000)
    hear({ type: 'still', seq: 2, at: 1_000_002 })
    await time.advance(500)
    expect(live.stale).toBe(false)
  })

  it('stands still while it is paused, and is old after a while', async () => {
    hear(sampleSnapshot(1))
    live.pause()
    hear(change(2, { state: 'failed' }))
    expect(shownAgent()?.state).toBe('healthy')
    await time.advance(10_000)
    expect(live.stale).toBe(true)
    live.resume()
    expect(shownAgent()?.state).toBe('failed')
  })

  it('counts the tries until a frame comes', () => {
    hear(sampleSnapshot(1))
    live.lost(3)
    expect(live.tries).toBe(3)
    hear({ type: 'still', seq: 2, at: 1_000_002 })
    expect(live.tries).toBe(0)
  })
})

describe("the coordinator's time", () => {
  it('goes on between frames and does not depend on the clock of this machine', async () => {
    hear(sampleSnapshot(1))
    time.jumpWall(3_600_000)
    await time.advance(300)
    expect(live.serverTime(time.clock.mono())).toBe(1_000_001 + 300)
  })

  it('stands still once nothing is heard any more', async () => {
    hear(sampleSnapshot(1))
    await time.advance(60_000)
    expect(live.serverTime(time.clock.mono())).toBe(1_000_001 + 10_000)
  })
})
