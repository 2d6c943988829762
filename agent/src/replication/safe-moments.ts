import type { Mono } from '@understudy/shared/core/time'

/** Numbers of the last batch that was made, and of the last that is durable over there. */
interface Numbers {
  readonly seq: number
  readonly durable: number
}

/** Up to which moment everything that was written is durable on a replica, as far as looks at every name can say. */
export interface SafeMoments {
  readonly since: Mono | undefined
  /** Everything was looked at; whatever was written before `since` is known. */
  looked(since: Mono): void
  /** Everything that is known has been put into batches. */
  sent(numbers: Numbers): void
  /** Something that is known could not be sent: only the next look at everything says more. */
  missed(): void
  /** What is known now has been captured; call the result once it is in batches. */
  capture(): (numbers: Numbers) => void
  acked(numbers: Numbers): void
}

export function createSafeMoments(): SafeMoments {
  let since: Mono | undefined
  /** A look whose changes are not all sent yet, and those whose changes are and await their ack. */
  let lookedSince: Mono | undefined
  const awaited: { readonly seq: number; readonly since: Mono }[] = []

  const acked = ({ durable }: Numbers) => {
    while (awaited[0] && awaited[0].seq <= durable) since = awaited.shift()?.since
  }
  const note = (moment: Mono | undefined, numbers: Numbers) => {
    if (moment !== undefined) awaited.push({ seq: numbers.seq, since: moment })
    acked(numbers)
  }
  return {
    get since() {
      return since
    },
    looked(moment) {
      lookedSince = moment
    },
    sent(numbers) {
      const moment = lookedSince
      lookedSince = undefined
      note(moment, numbers)
    },
    missed() {
      lookedSince = undefined
    },
    capture() {
      const moment = lookedSince
      lookedSince = undefined
      return (numbers) => note(moment, numbers)
    },
    acked,
  }
}
