import type { LiveFrame } from '@understudy/shared/protocol/live'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { sampleAgent, sampleSnapshot } from '../testkit/samples.ts'
import { applyFrame, type LivePicture } from './live-picture.ts'

/** The one agent of this fleet is at the epoch that the number of the frame says. */
const at = (seq: number) => ({ 'agent-demo-1': sampleAgent({ epoch: seq }) })
const patch = (seq: number): LiveFrame => ({ type: 'patch', seq, at: seq, content: { agents: at(seq) } })
const snapshot = (seq: number): LiveFrame => sampleSnapshot(seq, Object.values(at(seq)))
const epochOf = (picture: LivePicture) => picture.agents.get('agent-demo-1')?.epoch

it('in whatever order, however often or seldom frames come, what is shown was true, and never goes back', () => {
  const frames = fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 60 })
  fc.assert(
    fc.property(frames, (order) => {
      const first = applyFrame(undefined, snapshot(1))
      let picture = (first as { picture: LivePicture }).picture
      for (const seq of order) {
        const before = picture
        const outcome = applyFrame(before, patch(seq))
        if (outcome === 'repeated') expect(seq).toBeLessThanOrEqual(before.seq)
        // Only a new snapshot helps, and it is of the latest.
        else if (outcome === 'gap') {
          expect(seq).toBeGreaterThan(before.seq + 1)
          picture = (applyFrame(before, snapshot(seq)) as { picture: LivePicture }).picture
        } else picture = outcome.picture
        expect(epochOf(picture)).toBe(picture.seq)
        expect(picture.seq).toBeGreaterThanOrEqual(before.seq)
      }
    }),
  )
})
