import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { encodeXattrs, isReplicatedXattr, type Xattr } from '@understudy/shared/protocol/xattrs'

/**
 * The text that getfattr prints and setfattr takes back. A group of lines per file, the first of which is
 * `# file: <path>`, then `name=0x<hex>`, then an empty one; odd bytes of paths and names stand as `\ooo`. All strings
 * are latin1 for bytes.
 */

/** The canonical text of one file's attributes, or why it has none that could be sent. */
export type XattrsOrError = string | AppError

const FILE = '# file: '

/** Reads the text as it comes; `onFile` is called once per file. `ours` says which attributes count. */
export function createDumpReader(
  ours: (name: string) => boolean,
  onFile: (path: string, attributes: XattrsOrError) => void,
): { push(text: string): void; end(): void } {
  let rest = ''
  let path: string | undefined
  let attributes: Xattr[] = []

  function line(text: string): void {
    if (text === '') return finish()
    if (text.startsWith(FILE)) {
      finish()
      path = unquote(text.slice(FILE.length))
      return
    }
    const equals = text.indexOf('=')
    const name = unquote(equals < 0 ? text : text.slice(0, equals))
    if (!isReplicatedXattr(name) || !ours(name)) return
    attributes.push({ name, value: fromHex(equals < 0 ? '' : text.slice(equals + 1)) })
  }

  function finish(): void {
    if (path !== undefined) onFile(path, encoded(attributes))
    path = undefined
    attributes = []
  }

  return {
    push(text) {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const each of lines) line(each)
    },
    end() {
      if (rest !== '') line(rest)
      rest = ''
      finish()
    },
  }
}

function encoded(attributes: readonly Xattr[]): XattrsOrError {
  try {
    return encodeXattrs(attributes)
  } catch (error) {
    return asAppError(error)
  }
}

export const asAppError = (error: unknown): AppError =>
  isAppError(error) ? error : new AppError('internal', messageOf(error), { cause: error })

/** One group of lines, for `setfattr --restore`. */
export const toDump = (path: Buffer, attributes: readonly Xattr[]): string =>
  `${FILE}${quote(path.toString('latin1'))}\n${attributes
    .map(({ name, value }) => `${quote(name)}=0x${Buffer.from(value, 'latin1').toString('hex')}\n`)
    .join('')}\n`

/**
 * Which file each complaint is about: `getfattr: <path>: <reason>`, or `<path>: <attribute>: <reason>`. What is about
 * no known file comes under undefined.
 */
export function complaintsOf(
  stderr: string,
  isKnown: (path: string) => boolean,
): Map<string | undefined, string> {
  const complaints = new Map<string | undefined, string>()
  for (const each of stderr.split('\n')) {
    if (each === '') continue
    const text = each.replace(/^[gs]etfattr: /, '')
    complaints.set(pathIn(text, isKnown), text)
  }
  return complaints
}

function pathIn(text: string, isKnown: (path: string) => boolean): string | undefined {
  for (let end = text.lastIndexOf(': '); end > 0; end = text.lastIndexOf(': ', end - 1))
    for (const path of [unquote(text.slice(0, end)), text.slice(0, end)]) if (isKnown(path)) return path
  return undefined
}

const unquote = (text: string): string =>
  text.replaceAll(/\\([0-3][0-7]{2})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))

/** Everything but plain letters, so that no rule of the reader about spaces or signs matters. */
const quote = (text: string): string =>
  text.replaceAll(/[^A-Za-z0-9/._-]/gs, (sign) => `\\${sign.charCodeAt(0).toString(8).padStart(3, '0')}`)

/** `-e hex` makes every value `0x…`. */
function fromHex(value: string): string {
  return Buffer.from(value.slice(2), 'hex').toString('latin1')
}
