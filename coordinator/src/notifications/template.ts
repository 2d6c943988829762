import { suggest } from '@understudy/shared/core/options'

/** Text with `{{placeholders}}`: what is between them is taken as it is. */
export type Template = readonly (string | { readonly name: string })[]

/** Something in a template that cannot be, and where: `at` is its offset. */
export interface TemplateProblem {
  readonly at: number
  readonly message: string
}

const PLACEHOLDER = /\{\{\s*([\w.-]*)\s*\}\}/g

/** Either the template, or everything that is wrong with it. */
export function parseTemplate(
  text: string,
  known: readonly string[],
): { readonly template: Template; readonly problems: readonly TemplateProblem[] } {
  const parts: (string | { name: string })[] = []
  const problems: TemplateProblem[] = []
  let end = 0
  for (const match of text.matchAll(PLACEHOLDER)) {
    const [whole, name = ''] = match
    const before = text.slice(end, match.index)
    problems.push(...strayBraces(before, end))
    if (before !== '') parts.push(before)
    if (!known.includes(name))
      problems.push({
        at: match.index,
        message: `unknown placeholder ${whole}${suggest(name, known) || `; there are ${known.join(', ')}`}`,
      })
    parts.push({ name })
    end = match.index + whole.length
  }
  const rest = text.slice(end)
  problems.push(...strayBraces(rest, end))
  if (rest !== '') parts.push(rest)
  return { template: parts, problems }
}

/** What looks like a placeholder and is none would be sent to everybody. */
function strayBraces(text: string, offset: number): readonly TemplateProblem[] {
  const at = text.search(/\{\{|\}\}/)
  return at === -1
    ? []
    : [{ at: offset + at, message: `"${text.slice(at, at + 20)}" is no placeholder such as {{agent}}` }]
}

/** `quoted` is what the place that the text goes to needs for values; the template itself is left as it is. */
export const renderTemplate = (
  template: Template,
  values: Readonly<Record<string, string>>,
  quoted: (value: string) => string = (value) => value,
): string =>
  template.map((part) => (typeof part === 'string' ? part : quoted(values[part.name] ?? ''))).join('')
