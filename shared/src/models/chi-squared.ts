/** The chi-squared distribution, by the incomplete gamma function (Numerical Recipes, 6.2). */

const ENOUGH = 1e-15
const STEPS = 1000

/** P(X > x) for `degrees` degrees of freedom. */
export function chiSquaredTail(x: number, degrees: number): number {
  if (!(x > 0)) return 1
  const a = degrees / 2
  const z = x / 2
  return Math.min(1, Math.max(0, z < a + 1 ? 1 - lowerBySeries(a, z) : upperByFraction(a, z)))
}

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

function lowerBySeries(a: number, x: number): number {
  let term = 1 / a
  let sum = term
  for (let n = 1; n < STEPS && Math.abs(term) > ENOUGH * Math.abs(sum); n++) {
    term *= x / (a + n)
    sum += term
  }
  return sum * Math.exp(a * Math.log(x) - x - logGamma(a))
}

/** Lentz's method. */
function upperByFraction(a: number, x: number): number {
  let b = x + 1 - a
  let c = 1e300
  let d = 1 / b
  let h = d
  for (let i = 1; i < STEPS; i++) {
    const an = -i * (i - a)
    b += 2
    d = 1 / (an * d + b)
    c = b + an / c
    const step = c * d
    h *= step
    if (Math.abs(step - 1) < ENOUGH) break
  }
  return h * Math.exp(a * Math.log(x) - x - logGamma(a))
}

/** Lanczos, g = 7, for what is above 0. */
function logGamma(x: number): number {
  const c = [
    0.999_999_999_999_809_9, 676.520_368_121_885_1, -1259.139_216_722_402_8, 771.323_428_777_653_1,
    -176.615_029_162_140_6, 12.507_343_278_686_905, -0.138_571_095_265_720_12, 9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
  ]
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x)
  const y = x - 1
  const sum = c.reduce((total, value, i) => (i === 0 ? value : total + value / (y + i)), 0)
  const t = y + 7.5
  return 0.5 * Math.log(2 * Math.PI) + (y + 0.5) * Math.log(t) - t + Math.log(sum)
}
