import { wilson } from '../models/wilson.ts'

/** Wilson's interval of a share, 95 %; null without anything counted. */
export function shareInterval(
  hits: number,
  of: number,
): { readonly lower: number; readonly upper: number } | null {
  if (of === 0) return null
  const [lower, upper] = wilson(hits, of)
  return { lower, upper }
}
