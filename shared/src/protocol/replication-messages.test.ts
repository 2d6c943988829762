import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AppError } from '../core/app-error.ts'
import {
  decodeHeader,
  decodeManifest,
  decodeOps,
  encodeHeaderPrefix,
  encodeManifest,
  encodeOps,
  type Op,
} from './replication.ts'
import { primaryMessageSchema, replicaMessageSchema } from './replication-messages.ts'

const LEADS_OUTSIDE = [
  '../x',
  '/etc/passwd',
  'a/../../b',
  'a//b',
  './a',
  'a/',
  'a\0b',
  '..',
  '.',
  '',
  '\u012e\u012e/x',
  '\u012fa',
]

test.each(LEADS_OUTSIDE)('the name %j is refused wherever it stands: it leads outside', (path) => {
  const sha256 = 'a'.repeat(64)
  const verify = (name: string) => ({ type: 'verify', id: 1, seq: 1, ranges: [[0, name, 0, 1]], sha256 })
  const reread = (name: string) => ({ type: 'reread', files: [[0, name]] })
  for (const message of [verify, reread]) {
    expect(primaryMessageSchema.safeParse(message('a/b \xff')).success).toBe(true)
    expect(primaryMessageSchema.safeParse(message(path)).success).toBe(false)
  }
  const [name, target] = [
    { root: 0, path: 'a' },
    { root: 0, path },
  ]
  const refusal = 'leads outside the state directory'
  // In a body a name is of bytes, whatever it was before.
  expect(() => decodeOps(encodeOps([{ kind: 'link', ...name, target }]))).toThrow(refusal)
  expect(() => decodeManifest(encodeManifest([{ kind: 'link', ...name, target }]))).toThrow(refusal)
  expect(() => decodeManifest(encodeManifest([{ kind: 'link', ...target, target: name }]))).toThrow(refusal)
})

test('more than a frame may hold is refused', () => {
  const files = (count: number) => Array.from({ length: count }, () => [0, 'a'])
  const sha256 = 'a'.repeat(64)
  const ranges = (count: number) => Array.from({ length: count }, () => [0, 'a', 0, 1])
  const passes = (message: object) => primaryMessageSchema.safeParse(message).success
  expect([1, 1024, 0, 1025].map((count) => passes({ type: 'reread', files: files(count) }))).toEqual([
    true,
    true,
    false,
    false,
  ])
  expect(
    [1, 1024, 0, 1025].map((count) =>
      passes({ type: 'verify', id: 1, seq: 1, sha256, ranges: ranges(count) }),
    ),
  ).toEqual([true, true, false, false])
  expect(passes({ type: 'verify', id: 1, seq: 1, sha256, ranges: [[0, 'a', -1, 1]] })).toBe(false)
  expect(passes({ type: 'verify', id: 1, seq: 1, sha256, ranges: [[256, 'a', 0, 1]] })).toBe(false)
})

describe('what is almost right', () => {
  const meta = {
    mode: 0o640,
    uid: 1000,
    gid: 1000,
    mtimeMicros: 1_700_000_000_123_456,
    xattrs: 'user.a\0' + '1\0x',
  }
  const name = { root: 0, path: 'dir/name \xff' }
  const ops: Op[] = [
    { kind: 'dir', root: 0, path: '', meta },
    { kind: 'file', ...name, meta, size: 9000, fresh: true },
    { kind: 'write', ...name, offset: 4096, bytes: new Uint8Array(100).fill(7) },
    { kind: 'symlink', root: 0, path: 'l', meta, target: '../anywhere' },
    { kind: 'link', root: 0, path: 'm', target: name },
    { kind: 'remove', root: 1, path: 'gone' },
  ]
  const manifest = encodeManifest([
    { kind: 'dir', root: 0, path: '', meta },
    { kind: 'file', ...name, meta, size: 9000, pageFrom: 0, pages: new BigUint64Array([1n, 2n, 3n]) },
    { kind: 'symlink', root: 0, path: 'l', meta, target: '../anywhere' },
    { kind: 'link', root: 0, path: 'm', target: name },
  ])
  const header = new Uint8Array(164)
  header.set(encodeHeaderPrefix({ type: 1, flags: 3, epoch: 7, seq: 9, rawBytes: 500, bodyBytes: 100 }))

  /** A few bytes changed, cut out, doubled, or put in. */
  const mutation = fc.record({
    at: fc.nat(),
    kind: fc.constantFrom('flip', 'drop', 'insert', 'cut', 'large'),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
  })
  function mutated(
    whole: Uint8Array,
    mutations: readonly { at: number; kind: string; bytes: Uint8Array }[],
  ): Uint8Array {
    let bytes = [...whole]
    for (const { at: where, kind, bytes: with_ } of mutations) {
      const at = where % Math.max(bytes.length, 1)
      if (kind === 'flip') bytes[at] = (bytes[at] ?? 0) ^ (with_[0] ?? 1)
      if (kind === 'drop') bytes.splice(at, with_.length)
      if (kind === 'insert') bytes.splice(at, 0, ...with_)
      if (kind === 'cut') bytes = bytes.slice(0, at)
      if (kind === 'large') bytes.splice(at, with_.length, ...with_.map(() => 0xff))
    }
    return Uint8Array.from(bytes)
  }

  test.each<[string, Uint8Array, (bytes: Uint8Array) => unknown]>([
    ['a header', header, decodeHeader],
    ['a batch', encodeOps(ops), decodeOps],
    ['a manifest', manifest, decodeManifest],
  ])('%s that was changed is refused as such, or is another one', (_, whole, decode) => {
    expect(() => decode(whole)).not.toThrow()
    let refused = 0
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
        try {
          decode(mutated(whole, mutations))
        } catch (error) {
          refused += 1
          expect(error).toBeInstanceOf(AppError)
          expect((error as AppError).code).toBe('protocol')
        }
      }),
      { numRuns: 3000 },
    )
    expect(refused).toBeGreaterThan(300)
  })

  const messages: readonly [typeof replicaMessageSchema | typeof primaryMessageSchema, object][] = [
    [
      replicaMessageSchema,
      {
        type: 'join',
        protocol: 1,
        epoch: 3,
        instanceId: 'i-0aaaaaaaaaaaaaaa1',
        roots: 2,
        codecs: ['zstd'],
        whole: true,
        xattrs: true,
        resume: { stream: '9b2d7a0e-6d0c-4a53-9d43-6d4f3a3e1c11', seq: 4 },
      },
    ],
    [replicaMessageSchema, { type: 'ack', durable: 3, taken: 4 }],
    [
      primaryMessageSchema,
      { type: 'accepted', epoch: 3, stream: '9b2d7a0e-6d0c-4a53-9d43-6d4f3a3e1c11', resumed: false },
    ],
    [
      primaryMessageSchema,
      { type: 'verify', id: 1, seq: 2, ranges: [[0, 'a/b', 4096, 100]], sha256: 'a'.repeat(64) },
    ],
    [primaryMessageSchema, { type: 'barrier', id: 1, seq: 2, digest: 'aa', except: ['0/a'], xattrs: false }],
  ]
  test.each(messages)(
    'a message with any value in the place of another is refused or is another one',
    (schema, message) => {
      expect(schema.safeParse(message).success).toBe(true)
      const fields = Object.keys(message)
      let refused = 0
      fc.assert(
        fc.property(fc.constantFrom(...fields), fc.anything(), (field, value) => {
          const { success, data } = schema.safeParse({ ...message, [field]: value })
          if (!success) refused += 1
          else expect(JSON.stringify(data).length).toBeLessThan(10_000)
        }),
        { numRuns: 1000 },
      )
      expect(refused).toBeGreaterThan(500)
    },
  )
})
