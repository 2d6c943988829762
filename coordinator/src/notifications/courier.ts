import { randomUUID } from 'node:crypto'
import type { Random } from '@understudy/shared/core/random'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, type Instant, instant, millis, seconds, sleep } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { OutboxRow } from '../storage/database.ts'
import type { Outbox, Settled } from './outbox.ts'
import type { Poster } from './posting.ts'
import type { Receiver } from './receivers.ts'
import { type Attempt, nextAttempt } from './retries.ts'

/** What another coordinator has added, or left when it was killed, is looked for this often. */
const LOOK_EVERY = seconds(5)
/** Longer than any attempt takes. */
const CLAIMED_FOR = seconds(30)

/** Sends what is in the outbox, to every receiver for itself: one that is away keeps no other waiting. */
export interface Courier extends Service {
  /** Something was added. */
  wake(): void
}

export function createCourier(parts: {
  /** Those who are told now; whoever is added is served from the next look on. */
  readonly receivers: () => readonly Receiver[]
  readonly outbox: Outbox
  readonly poster: Poster
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly onAttempt: (receiver: string, result: 'sent' | 'failed' | 'given-up') => void
}): Courier {
  const { receivers, outbox, poster, clock, random, log, onAttempt } = parts
  const asleep = new Set<() => void>()
  /** Grows with every `wake`: what comes while it is looked for is not slept through. */
  let woken = 0

  /** Until something is added, or `at`. */
  async function rest(at: Instant | undefined, signal: AbortSignal): Promise<void> {
    const left = at === undefined ? LOOK_EVERY : Math.max(0, Math.min(LOOK_EVERY, at - clock.now()))
    const early = new AbortController()
    const wake = () => early.abort()
    asleep.add(wake)
    await sleep(clock, millis(left), AbortSignal.any([signal, early.signal])).catch(() => undefined)
    asleep.delete(wake)
  }

  /** Until it is told nothing any more; each message goes to where the receiver is by then. */
  async function serve(name: string, signal: AbortSignal): Promise<void> {
    const claim = randomUUID()
    while (!signal.aborted) {
      const receiver = receivers().find((known) => known.name === name)
      if (!receiver) return
      const seen = woken
      const next = await tryNext(receiver, claim, signal)
      if (next === 'sent' || woken !== seen) continue
      await rest(next, signal)
    }
  }

  /** Sends what is due; else says when something will be, where that is known. */
  async function tryNext(
    receiver: Receiver,
    claim: string,
    signal: AbortSignal,
  ): Promise<'sent' | Instant | undefined> {
    try {
      const row = await outbox.claim(receiver.name, claim, clock.now(), CLAIMED_FOR)
      if (row) {
        await send(receiver, row, signal)
        return 'sent'
      }
      const at = await outbox.nextAt(receiver.name)
      // One that is due all the same is claimed by somebody else.
      return at === undefined || at <= clock.now() ? undefined : instant(at)
    } catch (error) {
      if (!signal.aborted)
        log.error({ event: 'notification.outbox_failed', receiver: receiver.name, err: error })
      return undefined
    }
  }

  async function send(receiver: Receiver, row: OutboxRow, signal: AbortSignal): Promise<void> {
    const threadRef = await outbox.threadRef(receiver.name, row.thread)
    let attempt: Attempt
    try {
      attempt = await poster.post(
        receiver,
        { id: row.id, text: row.text, payload: row.payload, threadRef },
        signal,
      )
    } catch (error) {
      await outbox.giveBack(row)
      throw error
    }
    const settled = settledOf(attempt, row, clock.now(), random)
    await outbox.settle(row, settled)
    const result = settled.status === 'waiting' ? 'failed' : (settled.status as 'sent' | 'given-up')
    onAttempt(receiver.name, result)
    const said = {
      event: `notification.${result === 'given-up' ? 'given_up' : result}`,
      receiver: receiver.name,
      id: row.id,
      attempts: row.attempts + 1,
    }
    if (result === 'sent') log.info(said)
    else log[result === 'failed' ? 'warn' : 'error']({ ...said, why: attempt.error })
  }

  return {
    name: 'notifications',
    wake: () => {
      woken += 1
      for (const wake of asleep) wake()
    },
    async run(signal) {
      const serving = new Map<string, Promise<void>>()
      while (!signal.aborted) {
        for (const { name } of receivers())
          if (!serving.has(name))
            serving.set(
              name,
              serve(name, signal).finally(() => serving.delete(name)),
            )
        await rest(undefined, signal)
      }
      await Promise.all(serving.values())
    },
  }
}

function settledOf(
  attempt: Attempt,
  row: Pick<OutboxRow, 'attempts' | 'created_at' | 'next_at'>,
  now: Instant,
  random: Random,
): Settled {
  const again = nextAttempt(
    attempt,
    { attempts: row.attempts + 1, created: row.created_at as Instant, now },
    random,
  )
  return {
    status: attempt.ok ? 'sent' : again === undefined ? 'given-up' : 'waiting',
    next_at: again ?? row.next_at,
    last_at: now,
    last_status: attempt.status,
    last_error: attempt.error,
    ref: attempt.ref,
    sent_at: attempt.ok ? now : null,
  }
}
