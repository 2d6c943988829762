import { AppError } from '@understudy/shared/core/app-error'

/**
 * The XML that AWS answers with: elements, text, the five entities and numbered characters. Attributes are passed over.
 * Whatever else XML has (document types, entities of its own, CDATA, instructions) is refused, and so is half an answer.
 */
export interface XmlElement {
  readonly name: string
  /** Directly in it. */
  readonly text: string
  readonly children: readonly XmlElement[]
}

/** No answer is nested deeper. */
const MAX_DEPTH = 16

const NAME = '[A-Za-z_][\\w.-]*'
const PROLOG = /^\uFEFF?(?:<\?xml(?:\s+[a-z]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*\?>)?/
const TOKEN = new RegExp(
  [
    `</(?<end>${NAME})\\s*>`,
    `<(?<start>${NAME})(?:\\s+[\\w:.-]+\\s*=\\s*(?:"[^"<]*"|'[^'<]*'))*\\s*(?<empty>/?)>`,
    '<!--(?:(?!--)[^])*-->',
    '(?<text>[^<]+)',
  ].join('|'),
  'y',
)

interface OpenElement {
  readonly name: string
  text: string
  readonly children: OpenElement[]
}

/** The one element of a document. @throws AppError `protocol` */
export function parseXml(document: string): XmlElement {
  const top: OpenElement = { name: '', text: '', children: [] }
  const open = [top]
  const tokens = new RegExp(TOKEN)
  tokens.lastIndex = PROLOG.exec(document)?.[0].length ?? 0
  while (tokens.lastIndex < document.length) {
    const place = tokens.lastIndex
    const parts = tokens.exec(document)?.groups
    if (!parts) throw notXml(`what stands at ${place} is not understood`)
    take(parts, open, place)
  }
  const [root, ...more] = top.children
  if (open.length > 1) throw notXml(`it ends within <${open.at(-1)?.name}>`)
  if (!root || more.length > 0 || top.text.trim() !== '') throw notXml('it is not one element')
  return root
}

function take(parts: Record<string, string | undefined>, open: OpenElement[], place: number): void {
  const current = open.at(-1)
  if (!current) throw notXml(`there is nothing to close at ${place}`)
  if (parts.text !== undefined) current.text += decode(parts.text, place)
  else if (parts.end !== undefined) {
    if (open.length === 1 || parts.end !== current.name)
      throw notXml(`</${parts.end}> at ${place} closes nothing`)
    open.pop()
  } else if (parts.start !== undefined) {
    const element = { name: parts.start, text: '', children: [] }
    current.children.push(element)
    if (parts.empty !== '') return
    if (open.length > MAX_DEPTH) throw notXml(`it is nested more than ${MAX_DEPTH} deep`)
    open.push(element)
  }
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

function decode(text: string, place: number): string {
  return text.replace(/&([^;&\s]{0,10})(;?)/g, (_, name: string, end: string) => {
    const known = ENTITIES[name] ?? numbered(name)
    if (known === undefined || end === '') throw notXml(`the entity after ${place} is not known`)
    return known
  })
}

function numbered(name: string): string | undefined {
  const match = /^#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}))$/.exec(name)
  if (!match) return undefined
  const code = match[1] === undefined ? Number(match[2]) : Number.parseInt(match[1], 16)
  return code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff)
    ? String.fromCodePoint(code)
    : undefined
}

const notXml = (why: string): AppError =>
  new AppError('protocol', `an answer is not the XML that AWS writes: ${why}`, {
    hint: 'Something between here and AWS may have changed or cut it; the agent asks again by itself.',
    retryable: true,
  })

/** The text of the first child of that name; undefined when there is none. */
export const textOf = (element: XmlElement, name: string): string | undefined =>
  childOf(element, name)?.text.trim()

export const childOf = (element: XmlElement, name: string): XmlElement | undefined =>
  element.children.find((child) => child.name === name)
