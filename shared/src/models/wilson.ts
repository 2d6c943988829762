const Z = 1.959_963_984_540_054

/** The Wilson 95 % interval of a share; `hits` and `n` need not be whole. [0, 1] where there is nothing. */
export function wilson(hits: number, n: number): readonly [low: number, high: number] {
  if (!(n > 0)) return [0, 1]
  const p = hits / n
  const z2 = Z * Z
  const middle = (p + z2 / (2 * n)) / (1 + z2 / n)
  const half = (Z / (1 + z2 / n)) * Math.sqrt((p * (1 - p)) / n + z2 / (4 * n * n))
  return [p === 0 ? 0 : Math.max(0, middle - half), p === 1 ? 1 : Math.min(1, middle + half)]
}
