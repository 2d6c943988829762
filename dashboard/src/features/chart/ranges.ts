/** How far back a chart looks. */
export const ranges = [
  { name: '24h', words: '24 h', hours: 24 },
  { name: '7d', words: '7 d', hours: 7 * 24 },
  { name: '30d', words: '30 d', hours: 30 * 24 },
  { name: '90d', words: '90 d', hours: 90 * 24 },
] as const
export type Range = (typeof ranges)[number]

export const rangeNamed = (name: string | undefined): Range =>
  ranges.find((range) => range.name === name) ?? ranges[0]
