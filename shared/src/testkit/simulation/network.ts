import type { Random } from '../../core/random.ts'
import type { VoterId } from '../../failover/certificate.ts'
import type { EventQueue } from '../event-queue.ts'

/**
 * Messages between voters: each may be late, lost, doubled or overtaken, and links may be cut, both ways or one. That
 * is more than the sockets of the product allow, so what holds here holds there.
 */
export interface Network {
  send(from: VoterId, to: VoterId, deliver: () => void): void
  isCut(from: VoterId, to: VoterId): boolean
  /** Until `until`; `oneWay` leaves the way back open. */
  cut(from: VoterId, to: VoterId, until: number, oneWay: boolean): void
}

/** `late`: how many of all messages are, by up to 900 ms; undefined: none is, and none is lost. */
export function createNetwork(queue: EventQueue, random: Random, late: number | undefined): Network {
  const cuts = new Map<string, number>()
  /** No cut lasts longer than this. */
  let wholeFrom = 0
  const isCut = (from: VoterId, to: VoterId): boolean =>
    wholeFrom > queue.now && (cuts.get(`${from}>${to}`) ?? -1) > queue.now
  const lengthen = (way: string, until: number) => {
    cuts.set(way, Math.max(cuts.get(way) ?? 0, until))
    wholeFrom = Math.max(wholeFrom, until)
  }
  const deliverLater = (from: VoterId, to: VoterId, deliver: () => void, delay: number) =>
    queue.at(queue.now + delay, () => {
      if (!isCut(from, to)) deliver()
    })
  return {
    isCut,
    cut(from, to, until, oneWay) {
      lengthen(`${from}>${to}`, until)
      if (!oneWay) lengthen(`${to}>${from}`, until)
    },
    send(from, to, deliver) {
      if (isCut(from, to)) return
      if (late === undefined) return deliverLater(from, to, deliver, 1 + random() * 5)
      const fate = random()
      if (fate < 0.03) return
      const delay = () => (random() >= late ? 1 + random() * 15 : random() * 900)
      deliverLater(from, to, deliver, delay())
      if (fate > 0.99) deliverLater(from, to, deliver, delay())
    },
  }
}
