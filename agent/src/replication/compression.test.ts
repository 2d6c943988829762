import { randomBytes } from 'node:crypto'
import { FrameFlag } from '@understudy/shared/protocol/replication'
import { expect, test } from 'vitest'
import { asItIs, chooseCodec, createCompressor } from './compression.ts'

const text = Buffer.alloc(100_000, 'the same again and again, ')

test('the codec is used that both ends know, and a body is never made larger', () => {
  const { bytes, flag } = createCompressor(['deflate'], () => 0).compress(text)
  expect(flag).toBe(FrameFlag.deflate)
  expect(bytes.length).toBeLessThan(2000)
  expect(createCompressor(['zstd'], () => 0).compress(text).flag).toBe(FrameFlag.zstd)
  expect(createCompressor([], () => 0).compress(text)).toEqual({ bytes: text, flag: 0 })
  expect(asItIs.compress(text)).toEqual({ bytes: text, flag: 0 })
})

test.each([
  ['what looks random', randomBytes(100_000)],
  ['what is too short', Buffer.from('short')],
])('%s is sent as it is', (_, body) => {
  expect(createCompressor(['zstd'], () => 0).compress(body)).toEqual({ bytes: body, flag: 0 })
})

test('half random is still worth it', () => {
  const body = Buffer.concat([randomBytes(50_000), text.subarray(0, 50_000)])
  const { bytes, flag } = createCompressor(['zstd'], () => 0).compress(body)
  expect(flag).toBe(FrameFlag.zstd)
  expect(bytes.length).toBeLessThan(60_000)
})

test('the codec that brings a byte over soonest is chosen', () => {
  const fast = { secondsPerByte: 2e-9, ratio: 0.4 }
  const small = { secondsPerByte: 20e-9, ratio: 0.35 }
  expect(
    chooseCodec(
      ['zstd', 'deflate'],
      new Map([
        ['zstd', fast],
        ['deflate', small],
      ]),
    ),
  ).toBe('zstd')
  expect(
    chooseCodec(
      ['zstd', 'deflate'],
      new Map([
        ['zstd', small],
        ['deflate', fast],
      ]),
    ),
  ).toBe('deflate')
  expect(chooseCodec(['deflate', 'zstd'], new Map())).toBe('deflate')
})

test('a codec that turns out slow is given up', () => {
  // Each look at the clock is much later than the one before while zstd, which is first, is tried.
  let looks = 0
  const compressor = createCompressor(['zstd', 'deflate'], () => {
    looks += 1
    return looks % 4 === 2 ? looks * 10 : looks * 10 - 9.99
  })
  const flags = Array.from({ length: 3 }, () => compressor.compress(text).flag)
  expect(flags[0]).toBe(FrameFlag.zstd)
  expect(flags[2]).toBe(FrameFlag.deflate)
})
