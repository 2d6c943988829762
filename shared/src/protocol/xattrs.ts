import { AppError } from '../core/app-error.ts'

/** One extended attribute. Both are latin1 for bytes. */
export interface Xattr {
  readonly name: string
  readonly value: string
}

/** The canonical form fits a text of the state stream. */
export const MAX_XATTRS_BYTES = 0xffff
const MAX_NAME_BYTES = 255

/**
 * Attributes that travel: those of users, access control lists, file capabilities, and those that only root can see.
 * Never `security.selinux`: labels belong to the policy of one machine.
 */
const REPLICATED = /^(?:user\..+|trusted\..+|security\.capability|system\.posix_acl_(?:access|default))$/s

export const isReplicatedXattr = (name: string): boolean =>
  name.length <= MAX_NAME_BYTES && !name.includes('\0') && REPLICATED.test(name)

/**
 * The canonical form: for each attribute, in order of name, the name, NUL, the length of the value in decimal, NUL, the
 * value. Equal for equal attributes; empty for none.
 * @throws AppError `payload_too_large` above `MAX_XATTRS_BYTES`, `input_invalid` for a name that does not travel
 */
export function encodeXattrs(attributes: readonly Xattr[]): string {
  const sorted = [...attributes].sort((a, b) => (a.name < b.name ? -1 : 1))
  let text = ''
  let last: string | undefined
  for (const { name, value } of sorted) {
    if (!isReplicatedXattr(name) || name === last)
      throw new AppError('input_invalid', `the extended attribute ${JSON.stringify(name)} is not replicated`)
    last = name
    text += `${name}\0${value.length}\0${value}`
  }
  if (text.length > MAX_XATTRS_BYTES)
    throw new AppError(
      'payload_too_large',
      `extended attributes of ${text.length} bytes are too long for one name (at most ${MAX_XATTRS_BYTES})`,
      { hint: 'Keep large values in files; extended attributes of this name are not replicated.' },
    )
  return text
}

/** Accepts only what `encodeXattrs` returns. @throws AppError `protocol` */
export function decodeXattrs(text: string): Xattr[] {
  if (text.length > MAX_XATTRS_BYTES) throw refused(`${text.length} bytes are too long`)
  const attributes: Xattr[] = []
  let at = 0
  while (at < text.length) {
    const nameEnd = text.indexOf('\0', at)
    const lengthEnd = nameEnd < 0 ? -1 : text.indexOf('\0', nameEnd + 1)
    if (lengthEnd < 0) throw refused('they end in the middle of one')
    const name = text.slice(at, nameEnd)
    const digits = text.slice(nameEnd + 1, lengthEnd)
    if (!isReplicatedXattr(name))
      throw refused(`${JSON.stringify(name.slice(0, MAX_NAME_BYTES))} does not travel`)
    const before = attributes.at(-1)
    if (before && before.name >= name) throw refused('they are not in order')
    if (!/^(?:0|[1-9]\d{0,5})$/.test(digits)) throw refused('a length is not a number')
    const end = lengthEnd + 1 + Number(digits)
    if (end > text.length) throw refused('a value ends early')
    attributes.push({ name, value: text.slice(lengthEnd + 1, end) })
    at = end
  }
  return attributes
}

const refused = (what: string): AppError =>
  new AppError('protocol', `extended attributes refused: ${what}`, {
    hint: 'Both ends must run the same version; if they do, something between them changes bytes.',
  })
