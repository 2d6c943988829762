/** One benchmark: most of its options are whole numbers, its result a table and the same as an object. */
export interface Bench {
  readonly summary: string
  readonly options: Readonly<Record<string, { readonly value: number; readonly doc: string }>>
  readonly texts?: Readonly<Record<string, { readonly value: string; readonly doc: string }>>
  /** Each with what it does. */
  readonly switches?: Readonly<Record<string, string>>
  readonly run: (
    options: Readonly<Record<string, number>>,
    progress: (line: string) => void,
    given: Given,
  ) => Promise<BenchResult>
}

/** The options that are no numbers. */
export interface Given {
  readonly texts: Readonly<Record<string, string>>
  readonly switches: Readonly<Record<string, boolean>>
}

export interface BenchResult {
  readonly table: string
  readonly json: unknown
  /** False when something was not only slow but wrong. */
  readonly ok: boolean
}

/** Columns as wide as they must be: the first to the left, figures to the right. */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const lines = [head, ...rows].map((row) => row.map(String))
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)))
  return lines
    .map((line) =>
      line
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** By nearest rank: of 30 values p99 is the largest. NaN without values. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN
}
