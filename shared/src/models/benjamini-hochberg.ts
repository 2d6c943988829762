/**
 * Which of many hypotheses to reject so that of those rejected at most a share `rate` is expected to be true (Benjamini and
 * Hochberg 1995). In the order that they were given.
 */
export function benjaminiHochberg(pValues: readonly number[], rate: number): boolean[] {
  const order = pValues.map((p, i) => ({ p, i })).sort((a, b) => a.p - b.p)
  let rejected = 0
  for (const [rank, { p }] of order.entries())
    if (p <= (rate * (rank + 1)) / pValues.length) rejected = rank + 1
  const result = pValues.map(() => false)
  for (const { i } of order.slice(0, rejected)) result[i] = true
  return result
}
