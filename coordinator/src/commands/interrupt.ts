/** Aborts when the command is told to stop, for as long as it lasts: `using interrupt = onInterrupt()`. */
export function onInterrupt(): Disposable & { readonly signal: AbortSignal } {
  const stop = new AbortController()
  const abort = () => stop.abort()
  const names = ['SIGINT', 'SIGTERM'] as const
  for (const name of names) process.once(name, abort)
  return {
    signal: stop.signal,
    [Symbol.dispose]() {
      for (const name of names) process.off(name, abort)
    },
  }
}
