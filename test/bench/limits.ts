/** The time that one invocation of a benchmark has, in milliseconds. */
export interface Budget {
  left(): number
  /** A part of it, of which the rest is kept for what comes later. */
  keeping(millis: number): Budget
}

export function createBudget(millis: number, now: () => number = () => performance.now()): Budget {
  const end = now() + millis
  const until = (deadline: number): Budget => ({
    left: () => Math.max(0, deadline - now()),
    keeping: (kept) => until(deadline - kept),
  })
  return until(end)
}
