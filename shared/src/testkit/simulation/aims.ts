import { type Random, seededRandom } from '../../core/random.ts'
import type { Fault, FaultKind, Sabotage, WorldOptions } from './options.ts'
import { drawPolicies } from './policies.ts'

/**
 * Schedules in which what was broken is needed. Most deliberate bugs show up under any faults; the margins of others hide
 * them, unless something bad happens at just the right moment.
 */
const AIMS: Readonly<Partial<Record<Sabotage, (random: Random) => readonly Fault[]>>> = {
  // The successor waits for the end of its promise, by a fast clock; the primary goes on, by a slow one.
  'no-drift-margin': (random) => [3000, 8000].map((at) => cutOff(at + random() * 500, 0.6)),
  // The primary is heard again while the vote for the successor, which does not hear it, is on its way to a slow disk.
  'ack-while-voting': (random) => [
    hit('cut-pair', 'successor', 3000, 0.9),
    hit('cut-coordinator-link', 'primary', 3000, 0.2 + random() * 0.12),
  ],
  // It sleeps over an election that was called off in the end, and reads of it when it wakes up.
  'lease-from-hand-over-receipt': (random) => [
    cutOff(3000, 0.35),
    hit('pause-agent', 'successor', 3600 + random() * 450, 1.9),
  ],
  'ignore-promise': (random) =>
    [3000, 7000].map((at) => hit('cut-coordinator-link', 'primary', at + random() * 500, 0.4)),
  // The primary votes for another successor, and is cut off from the coordinator and from it before it hears more.
  'one-lease-during-succession': (random) => {
    const at = 3005 + random() * 40
    return [
      hit('planned-move', 'primary', 3000),
      hit('cut-coordinator-link', 'primary', at, 0.605),
      { kind: 'cut-pair', at, who: 0, size: 0.5 + random() * 0.45 },
    ]
  },
  // The same, with a clock that has stopped meanwhile.
  'lease-in-doubt': (random) => [
    cutOff(3000, 0.35),
    hit('stop-clock', 'successor', 3600 + random() * 450, 2.2),
  ],
}

/** One schedule in so many has an agent with policies of its own. */
const WITH_POLICIES = 5

const hit = (kind: FaultKind, target: 'primary' | 'successor', at: number, size = 0): Fault => ({
  kind,
  target,
  at,
  size,
  who: 0,
})

/** The primary, from everybody. */
const cutOff = (at: number, size: number): Fault => hit('cut-instance', 'primary', at, size)

/** The schedule of one seed; with a sabotage, one in which what was broken is needed. */
export function optionsOf(seed: number, sabotage: Sabotage | undefined): WorldOptions {
  const aim = sabotage && AIMS[sabotage]
  return {
    seed,
    ...(sabotage ? { sabotage } : {}),
    ...(sabotage === undefined && seed % WITH_POLICIES === 0 ? { policies: drawPolicies(seed) } : {}),
    ...(aim ? { faults: aim(seededRandom(seed)) } : {}),
  }
}
