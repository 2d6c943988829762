/** Agents on which nothing is played at the moment. While one is played on, the others are made ready again. */
export interface Pool {
  /** The one that has waited longest, ready. */
  take(): Promise<string>
  /** To be made ready, or replaced by a new one. */
  giveBack(id: string, isSpoilt: boolean): void
  /** Until nothing is under way for any of those that are not taken. */
  quiet(): Promise<void>
}

export interface PoolParts {
  readonly size: number
  readonly fresh: () => Promise<string>
  readonly restore: (id: string) => Promise<unknown>
  readonly retire: (id: string) => Promise<void>
}

export function createPool({ size, fresh, restore, retire }: PoolParts): Pool {
  const waiting: Promise<string | undefined>[] = []
  const add = (made: Promise<string>) => void waiting.push(made.catch(() => undefined))
  for (let index = 0; index < size; index += 1) add(fresh())

  async function again(id: string, isSpoilt: boolean): Promise<string> {
    const isBack =
      !isSpoilt &&
      (await restore(id).then(
        () => true,
        () => false,
      ))
    if (isBack) return id
    await retire(id)
    return fresh()
  }
  return {
    take: async () => (await waiting.shift()) ?? fresh(),
    giveBack: (id, isSpoilt) => add(again(id, isSpoilt)),
    quiet: async () => void (await Promise.all(waiting)),
  }
}
