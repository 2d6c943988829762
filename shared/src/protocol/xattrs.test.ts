import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isAppError } from '../core/app-error.ts'
import { decodeXattrs, encodeXattrs, isReplicatedXattr, MAX_XATTRS_BYTES } from './xattrs.ts'

const byte = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code))
const bytes = (maxLength: number) => fc.array(byte, { maxLength }).map((parts) => parts.join(''))
const name = fc
  .tuple(fc.constantFrom('user.', 'trusted.'), bytes(20))
  .map(([space, rest]) => `${space}${rest.replaceAll('\0', '')}x`)
const list = fc.uniqueArray(fc.record({ name, value: bytes(40) }), {
  selector: (attribute) => attribute.name,
})

test('what is encoded is decoded again, in order of name', () => {
  fc.assert(
    fc.property(list, (attributes) => {
      const text = encodeXattrs(attributes)
      expect(decodeXattrs(text)).toEqual([...attributes].sort((a, b) => (a.name < b.name ? -1 : 1)))
      expect(encodeXattrs([...attributes].reverse())).toBe(text)
    }),
  )
})

test('any change of a text is refused or stands for other attributes', () => {
  fc.assert(
    fc.property(list, fc.nat(), byte, (attributes, where, other) => {
      const text = encodeXattrs(attributes)
      const at = where % (text.length + 1)
      const changed = text.slice(0, at) + other + text.slice(at + 1)
      fc.pre(changed !== text)
      try {
        expect(encodeXattrs(decodeXattrs(changed))).toBe(changed)
      } catch (error) {
        expect(isAppError(error, 'protocol')).toBe(true)
      }
    }),
  )
})

test('none is the empty text', () => {
  expect(encodeXattrs([])).toBe('')
  expect(decodeXattrs('')).toEqual([])
})

test.each([
  'user.a',
  'user.a\0',
  'user.a\x001',
  'user.a\x002\0x',
  'user.a\x00-1\0',
  'user.a\x0001\0x',
  'user.a\x001e2\0x',
  'user.a\x00\0',
  'user.\x000\0',
  '\x000\0',
  'security.selinux\x001\0x',
  'security.capability2\x001\0x',
  'system.posix_acl_other\x001\0x',
  'user.b\x000\0user.a\x000\0',
  'user.a\x000\0user.a\x000\0',
  `user.${'n'.repeat(251)}\x000\0`,
  `user.a\x0065536\0${'x'.repeat(65_536)}`,
])('%j is refused', (text) => {
  expect(() => decodeXattrs(text)).toThrow('extended attributes refused')
})

test('labels of one machine, names that are no names and too much of it do not travel', () => {
  expect(
    ['user.a', 'trusted.overlay.opaque', 'security.capability', 'system.posix_acl_default'].every(
      isReplicatedXattr,
    ),
  ).toBe(true)
  expect(['security.selinux', 'security.ima', 'user.', 'user.a\0b', 'other'].some(isReplicatedXattr)).toBe(
    false,
  )
  expect(() => encodeXattrs([{ name: 'security.selinux', value: '' }])).toThrow('not replicated')
  expect(() => encodeXattrs([{ name: 'user.a', value: 'x'.repeat(MAX_XATTRS_BYTES) }])).toThrow('too long')
  expect(() =>
    encodeXattrs([
      { name: 'user.a', value: '' },
      { name: 'user.a', value: '' },
    ]),
  ).toThrow('not replicated')
})
