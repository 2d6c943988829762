import fc from 'fast-check'
import { expect, test } from 'vitest'
import { AppError } from '../core/app-error.ts'
import {
  decodeHeader,
  decodeManifest,
  decodeOps,
  encodeHeaderPrefix,
  encodeManifest,
  encodeOps,
  FrameType,
  HEADER_BYTES,
  MAX_BODY_BYTES,
  type ManifestEntry,
  type Op,
  opBytes,
} from './replication.ts'

const part = fc
  .string({
    minLength: 1,
    maxLength: 12,
    unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)),
  })
  .filter((text) => !text.includes('/') && text !== '.' && text !== '..')
const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'))
const meta = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.nat(),
  gid: fc.nat(),
  mtimeMicros: fc.integer({ min: -1e15, max: 4e15 }),
  xattrs: fc.constantFrom('', 'user.a\0' + '1\0x'),
})
const root = fc.integer({ min: 0, max: 63 })

const op: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ kind: fc.constant('dir' as const), root, path, meta }),
  fc.record({ kind: fc.constant('file' as const), root, path, meta, size: fc.nat(), fresh: fc.boolean() }),
  fc.record({
    kind: fc.constant('write' as const),
    root,
    path,
    offset: fc.nat(),
    bytes: fc.uint8Array({ maxLength: 100 }),
  }),
  fc.record({ kind: fc.constant('symlink' as const), root, path, meta, target: path }),
  fc.record({ kind: fc.constant('remove' as const), root, path }),
  fc.record({ kind: fc.constant('link' as const), root, path, target: fc.record({ root, path }) }),
)

test('ops survive the wire, and say beforehand how long they are', () => {
  fc.assert(
    fc.property(fc.array(op, { maxLength: 20 }), (ops) => {
      const body = encodeOps(ops)
      expect(body.length).toBe(ops.reduce((sum, one) => sum + opBytes(one), 0))
      expect(decodeOps(body)).toEqual(ops)
    }),
  )
})

test('manifests survive the wire', () => {
  const entry: fc.Arbitrary<ManifestEntry> = fc.oneof(
    fc.record({ kind: fc.constant('dir' as const), root, path, meta }),
    fc.record({ kind: fc.constant('symlink' as const), root, path, meta, target: path }),
    fc.record({ kind: fc.constant('link' as const), root, path, target: fc.record({ root, path }) }),
    fc
      .record({
        root,
        path,
        meta,
        pages: fc.bigUint64Array({ maxLength: 20 }),
        pageFrom: fc.nat({ max: 50 }),
      })
      .map((file) => ({ kind: 'file' as const, ...file, size: (file.pageFrom + file.pages.length) * 4096 })),
  )
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 10 }), (entries) => {
      expect(decodeManifest(encodeManifest(entries))).toEqual(entries)
    }),
  )
})

test('whatever bytes come in, decoding ends with ops or with a protocol error', () => {
  const refused = (run: () => unknown) => {
    try {
      run()
    } catch (error) {
      expect(error).toBeInstanceOf(AppError)
      expect((error as AppError).code).toBe('protocol')
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      refused(() => decodeOps(bytes))
      refused(() => decodeManifest(bytes))
      refused(() => decodeHeader(bytes))
    }),
    { numRuns: 2000 },
  )
})

test('a body with a flipped byte is refused or is another body; it never crashes', () => {
  fc.assert(
    fc.property(
      fc.array(op, { minLength: 1, maxLength: 5 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (ops, at, flip) => {
        const body = encodeOps(ops)
        body[at % body.length] = (body[at % body.length] ?? 0) ^ flip
        try {
          decodeOps(body)
        } catch (error) {
          expect(error).toBeInstanceOf(AppError)
        }
      },
    ),
  )
})

test.each(['../x', '/etc/passwd', 'a/../../b', 'a//b', './a', 'a/', 'a\0b', '..', '.', ''])(
  'the name %j is refused: it leads outside',
  (name) => {
    const ops: Op[] = [{ kind: 'remove', root: 0, path: name }]
    expect(() => decodeOps(encodeOps(ops))).toThrow('leads outside the state directory')
  },
)

test('a header that promises too much is refused before anything is allocated', () => {
  const frame = new Uint8Array(HEADER_BYTES)
  const header = { type: FrameType.batch, flags: 0, epoch: 1, seq: 1, bodyBytes: 0 }
  frame.set(encodeHeaderPrefix({ ...header, rawBytes: MAX_BODY_BYTES + 1 }))
  expect(() => decodeHeader(frame)).toThrow('too large')
  frame.set(encodeHeaderPrefix({ ...header, rawBytes: 10, bodyBytes: 99 }))
  expect(() => decodeHeader(frame)).toThrow('instead of 99')
})
