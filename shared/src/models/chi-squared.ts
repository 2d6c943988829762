import { gammaAbove } from '../interruption/gamma.ts'

/** P(X > x) for `degrees` degrees of freedom. */
export const chiSquaredTail = (x: number, degrees: number): number => gammaAbove(degrees / 2, x / 2)

/** The x with P(X > x) = `tail`. */
export function chiSquaredQuantile(tail: number, degrees: number): number {
  let low = 0
  let high = degrees + 10
  while (chiSquaredTail(high, degrees) > tail) high *= 2
  for (let i = 0; i < 200 && high - low > 1e-10 * high; i++) {
    const middle = (low + high) / 2
    if (chiSquaredTail(middle, degrees) > tail) low = middle
    else high = middle
  }
  return (low + high) / 2
}
