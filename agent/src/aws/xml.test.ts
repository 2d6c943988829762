import { isAppError } from '@understudy/shared/core/app-error'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { pageOf } from './testing.ts'
import { childOf, parseXml, textOf, type XmlElement } from './xml.ts'

const problemOf = (text: string): unknown => {
  try {
    return parseXml(text)
  } catch (error) {
    return isAppError(error, 'protocol') ? error.message : error
  }
}

test('elements, text, entities, comments and attributes are read', () => {
  const root = parseXml(
    '\uFEFF<?xml version="1.0"?>\n<a x="1" y=\'2\'> <!-- - --> <b>1 &lt; 2 &#38; &#x1F600;</b><c/><b>two</b></a>\n',
  )
  expect(root.children.map(({ name }) => name)).toEqual(['b', 'c', 'b'])
  expect(textOf(root, 'b')).toBe('1 < 2 & 😀')
  expect(textOf(root, 'c')).toBe('')
  expect(childOf(root, 'd')).toBeUndefined()
})

test.each([
  ['', 'not one element'],
  ['text', 'not one element'],
  ['<a></a><b></b>', 'not one element'],
  ['<a>', 'ends within <a>'],
  ['<a><b></a></b>', 'closes nothing'],
  ['</a>', 'closes nothing'],
  ['<a>&nbsp;</a>', 'entity'],
  ['<a>&#0;</a>', 'entity'],
  ['<a>& b</a>', 'entity'],
  ['<!DOCTYPE a [<!ENTITY e "e">]><a>&e;</a>', 'not understood'],
  ['<a><![CDATA[x]]></a>', 'not understood'],
  ['<a b=1></a>', 'not understood'],
  [`${'<a>'.repeat(40)}${'</a>'.repeat(40)}`, 'deep'],
])('%s is refused', (text, why) => {
  expect(problemOf(text)).toContain(why)
})

test('half a page is never taken for a page', () => {
  const page = pageOf([{ price: '0.0416' }, { price: '0.0420', zone: 'us-east-1b' }], 'next')
  fc.assert(
    fc.property(fc.nat(page.length - 1), (end) => {
      expect(problemOf(page.slice(0, end))).toContain('not the XML that AWS writes')
    }),
  )
})

test('whatever is written is read again', () => {
  const escaped = (text: string) =>
    text.replace(/[&<>]/g, (letter) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[letter] ?? letter)
  const write = ({ name, text, children }: XmlElement): string =>
    `<${name}>${escaped(text)}${children.map(write).join('')}</${name}>`
  const element = (levels: number): fc.Arbitrary<XmlElement> =>
    fc.record({
      name: fc.stringMatching(/^[A-Za-z_][\w.-]{0,8}$/),
      text: fc.string({ unit: 'grapheme' }),
      children: levels === 0 ? fc.constant([]) : fc.array(element(levels - 1), { maxLength: 3 }),
    })
  fc.assert(
    fc.property(element(3), (given) => {
      expect(parseXml(write(given))).toEqual(given)
    }),
  )
})

test('any text is read or refused, and nothing else', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom('<a>', '</a>', '<b/>', '&amp;', '&', 'x', '<', '>', '<!--', '-->', ']]>', '"'),
      ),
      (parts) => {
        const text = parts.join('')
        try {
          expect(parseXml(text).name).toMatch(/^[ab]$/)
        } catch (error) {
          expect(isAppError(error, 'protocol')).toBe(true)
        }
      },
    ),
  )
})
