/** Lanczos with g = 7, nine terms; error below 1e-13. Source: Numerical Recipes, 3rd edition, 6.1. */
const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
]

/** The natural logarithm of the gamma function; `x` above 0. */
export function logGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x)
  const t = x + 6.5
  const sum = LANCZOS.reduce((all, term, i) => all + (i === 0 ? term : term / (x - 1 + i)), 0)
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum)
}

const ENOUGH = 1e-14
const MOST_TERMS = 10_000

/** Share of a gamma distribution of this shape and rate 1 that is below `x`. Source: Numerical Recipes 6.2. */
export function gammaBelow(shape: number, x: number): number {
  if (!(x > 0)) return 0
  return x < shape + 1 ? front(shape, x) * series(shape, x) : 1 - front(shape, x) * fraction(shape, x)
}

/** The rest of it, exact where it is tiny. */
export function gammaAbove(shape: number, x: number): number {
  if (!(x > 0)) return 1
  return x < shape + 1 ? 1 - front(shape, x) * series(shape, x) : front(shape, x) * fraction(shape, x)
}

/** x^shape e^-x / gamma(shape) */
const front = (shape: number, x: number): number => Math.exp(shape * Math.log(x) - x - logGamma(shape))

function series(shape: number, x: number): number {
  let term = 1 / shape
  let sum = term
  for (let n = 1; n < MOST_TERMS && term > sum * ENOUGH; n += 1) {
    term *= x / (shape + n)
    sum += term
  }
  return sum
}

/** The continued fraction of the upper part, by Lentz's method. */
function fraction(shape: number, x: number): number {
  const tiny = 1e-300
  let b = x + 1 - shape
  let c = 1 / tiny
  let d = 1 / b
  let h = d
  for (let i = 1; i < MOST_TERMS; i += 1) {
    const a = -i * (i - shape)
    b += 2
    d = 1 / (a * d + b || tiny)
    c = b + a / c || tiny
    h *= d * c
    if (Math.abs(d * c - 1) < ENOUGH) break
  }
  return h
}

/** Where `share` of a gamma distribution of this shape and rate 1 is below. Bisection in the logarithm. */
export function gammaQuantile(shape: number, share: number): number {
  let low = -700
  let high = Math.log(shape + 40 * Math.sqrt(shape) + 60)
  for (let i = 0; i < 80; i += 1) {
    const middle = (low + high) / 2
    if (gammaBelow(shape, Math.exp(middle)) < share) low = middle
    else high = middle
  }
  return Math.exp((low + high) / 2)
}
