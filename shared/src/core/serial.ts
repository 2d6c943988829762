/**
 * Runs tasks one after the other, in the order in which they were given. A task that throws rejects its own promise
 * and does not stop the next one.
 */
export function createSerial(): <T>(task: () => Promise<T> | T) => Promise<T> {
  let tail: Promise<unknown> = Promise.resolve()
  return (task) => {
    const result = tail.then(task)
    tail = result.catch(() => undefined)
    return result
  }
}
