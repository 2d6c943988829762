/** Runs up to `limit` tasks at a time: `add` waits for room, and throws what an earlier one has thrown. */
export function createUploads(limit: number) {
  const running = new Set<Promise<void>>()
  let failure: { error: unknown } | undefined
  const check = () => {
    if (failure) throw failure.error
  }
  return {
    async add(task: () => Promise<void>): Promise<void> {
      while (running.size >= limit) await Promise.race(running)
      check()
      const promise: Promise<void> = task()
        .catch((error: unknown) => {
          failure ??= { error }
        })
        .finally(() => running.delete(promise))
      running.add(promise)
    },
    /** All of them have ended well. */
    async done(): Promise<void> {
      await Promise.all(running)
      check()
    },
    /** All of them have ended, one way or the other. */
    settle: () => Promise.all(running),
  }
}
