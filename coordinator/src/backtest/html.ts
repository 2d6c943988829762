import type { Backtest, PolicyRow } from './backtest.ts'
import { headingOf, percent, toMarkdown } from './report.ts'

/** One page that asks nobody for anything: its style and its charts are inside. */
export const toHtml = (backtests: readonly Backtest[]): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Backtest</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Backtest</h1>
${backtests.map(sectionOf).join('\n')}
</main>
</body>
</html>
`

const STYLE = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1.1rem; margin-top: 2.5rem }
h3 { font-size: 1rem; margin-bottom: .25rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid #8885; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
svg { width: 100%; height: auto }
svg text { font: 12px system-ui, sans-serif; fill: currentColor }
.axis { stroke: #8888; stroke-width: 1 }
`

const colours = ['#7a7a7a', '#c2410c', '#7c3aed', '#0f766e', '#a16207', '#2563eb']
const colourOf = (i: number): string => colours[i % colours.length] ?? '#000'

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (char) => `&#${char.codePointAt(0) ?? 63};`)

function sectionOf(test: Backtest): string {
  const spot = test.rows.filter(({ policy }) => policy !== 'on-demand')
  const charts = test.hasPrices
    ? [
        chart(
          'Cost, of on-demand',
          bars(spot, ({ costShare }) => costShare ?? 0, percent),
        ),
        chart('Cost of each week, of on-demand', weeks(spot)),
        chart('Cost of each workload, of on-demand', strip(spot)),
        chart(
          'Moves',
          bars(spot, ({ moves }) => moves, String),
        ),
      ]
    : [
        chart(
          'Time without capacity',
          bars(spot, ({ withoutShare }) => withoutShare, percent),
        ),
        chart(
          'Interruptions',
          bars(spot, ({ interruptions }) => interruptions, String),
        ),
      ]
  return `<section>\n<h2>${escaped(headingOf(test))}</h2>\n${tableOf(test)}\n${charts.join('\n')}\n</section>`
}

const chart = (title: string, svg: string): string => `<h3>${title}</h3>\n${svg}`

/** The same table as in text. */
function tableOf(test: Backtest): string {
  const lines = toMarkdown([test])
    .split('\n')
    .filter((line) => line.startsWith('|') && !line.startsWith('|---'))
  const [heading = '', ...rows] = lines
  const row = (line: string, tag: string) =>
    `<tr>${line
      .split('|')
      .slice(1, -1)
      .map((cell) => `<${tag}>${escaped(cell.trim())}</${tag}>`)
      .join('')}</tr>`
  return `<table><thead>${row(heading, 'th')}</thead><tbody>${rows.map((line) => row(line, 'td')).join('')}</tbody></table>`
}

const WIDTH = 900
const LABELS = 150

function bars(
  rows: readonly PolicyRow[],
  of: (row: PolicyRow) => number,
  shown: (value: number) => string,
): string {
  const most = Math.max(...rows.map(of), Number.MIN_VALUE)
  const items = rows.map((row, i) => {
    const length = (of(row) / most) * (WIDTH - LABELS - 90)
    const y = i * 26
    return `<text x="0" y="${y + 17}">${row.policy}</text><rect x="${LABELS}" y="${y + 4}" width="${length.toFixed(1)}" height="18" fill="${colourOf(i)}"/><text x="${(LABELS + length + 6).toFixed(1)}" y="${y + 17}">${shown(of(row))}</text>`
  })
  return `<svg viewBox="0 0 ${WIDTH} ${rows.length * 26}" role="img">${items.join('')}</svg>`
}

/** One line per policy; a week without any cost breaks it. */
function weeks(rows: readonly PolicyRow[]): string {
  const height = 220
  const all = rows.flatMap((row) => row.weeks).filter(Number.isFinite)
  const most = Math.max(...all, Number.MIN_VALUE)
  const count = Math.max(...rows.map((row) => row.weeks.length), 2)
  const x = (week: number) => (LABELS + (week / (count - 1)) * (WIDTH - LABELS)).toFixed(1)
  const y = (share: number) => (height - (share / most) * (height - 10)).toFixed(1)
  const lines = rows.map((row, i) => {
    let pen = 'M'
    const path = row.weeks.map((share, week) => {
      if (!Number.isFinite(share)) {
        pen = 'M'
        return ''
      }
      const step = `${pen}${x(week)} ${y(share)}`
      pen = 'L'
      return step
    })
    return `<path d="${path.join('')}" fill="none" stroke="${colourOf(i)}" stroke-width="1.5"/><text x="0" y="${40 + i * 18}" style="fill:${colourOf(i)}">${row.policy}</text>`
  })
  return `<svg viewBox="0 0 ${WIDTH} ${height + 4}" role="img"><text x="0" y="12">0 to ${percent(most)}</text><path class="axis" d="M${LABELS} 0V${height}H${WIDTH}" fill="none"/>${lines.join('')}</svg>`
}

/** A dot per workload. */
function strip(rows: readonly PolicyRow[]): string {
  const most = Math.max(...rows.flatMap(({ shares }) => shares), Number.MIN_VALUE)
  const items = rows.map((row, i) => {
    const y = i * 26 + 13
    const dots = row.shares.map(
      (share) =>
        `<circle cx="${(LABELS + (share / most) * (WIDTH - LABELS - 10)).toFixed(1)}" cy="${y}" r="4" fill="${colourOf(i)}" fill-opacity=".5"/>`,
    )
    return `<text x="0" y="${y + 4}">${row.policy}</text>${dots.join('')}`
  })
  return `<svg viewBox="0 0 ${WIDTH} ${rows.length * 26 + 18}" role="img">${items.join('')}<text x="${LABELS}" y="${rows.length * 26 + 14}">0</text><text x="${WIDTH - 60}" y="${rows.length * 26 + 14}">${percent(most)}</text></svg>`
}
