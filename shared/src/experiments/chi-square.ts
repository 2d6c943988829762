/** P(X² ≥ x) of a chi-square distribution: the upper incomplete gamma function Q(k/2, x/2). */
export function chiSquareTail(x: number, degrees: number): number {
  if (!(x > 0)) return 1
  const a = degrees / 2
  const half = x / 2
  return half < a + 1 ? 1 - lowerSeries(a, half) : upperFraction(a, half)
}

const TINY = 1e-300
const ENOUGH = 1e-15

/** x^a e^-x / Γ(a) */
const front = (a: number, x: number): number => Math.exp(a * Math.log(x) - x - logGamma(a))

/** P(a, x) by its series, for x below a + 1. Numerical Recipes §6.2. */
function lowerSeries(a: number, x: number): number {
  let term = 1 / a
  let sum = term
  for (let n = 1; n < 500 && Math.abs(term) > Math.abs(sum) * ENOUGH; n += 1) {
    term *= x / (a + n)
    sum += term
  }
  return sum * front(a, x)
}

/** Q(a, x) by Lentz's continued fraction, for the rest. */
function upperFraction(a: number, x: number): number {
  let b = x + 1 - a
  let c = 1 / TINY
  let d = 1 / b
  let h = d
  for (let i = 1; i < 500; i += 1) {
    const an = -i * (i - a)
    b += 2
    d = 1 / (an * d + b || TINY)
    c = b + an / c || TINY
    const step = d * c
    h *= step
    if (Math.abs(step - 1) < ENOUGH) break
  }
  return h * front(a, x)
}

/** Lanczos, g = 7, for positive arguments. */
function logGamma(z: number): number {
  const [first = 0, ...rest] = LANCZOS
  const x = z - 1
  const sum = rest.reduce((total, c, i) => total + c / (x + i + 1), first)
  const t = x + 7.5
  return 0.5 * Math.log(2 * Math.PI) + (x + 0.5) * Math.log(t) - t + Math.log(sum)
}

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
]
