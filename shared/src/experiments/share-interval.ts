/** Wilson's interval of a share, 95 %; null without anything counted. */
export function shareInterval(
  hits: number,
  of: number,
): { readonly lower: number; readonly upper: number } | null {
  if (of === 0) return null
  const p = hits / of
  const middle = (p + Z2 / (2 * of)) / (1 + Z2 / of)
  const half = (Z / (1 + Z2 / of)) * Math.sqrt((p * (1 - p)) / of + Z2 / (4 * of * of))
  return { lower: Math.max(0, middle - half), upper: Math.min(1, middle + half) }
}

const Z = 1.959963984540054
const Z2 = Z * Z
