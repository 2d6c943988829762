import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  createFrameReader,
  decodeBatch,
  decodeResult,
  encodeBatch,
  encodeFrame,
  encodeResult,
  type Frame,
  frameKinds,
} from './frames.ts'

const joined = (parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts))

test('frames come out as they went in, however the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 9 })),
      (contents, cuts) => {
        const stream = joined(contents.flatMap((content, i) => encodeFrame(frameKinds.batch, i, content)))
        const frames: Frame[] = []
        const read = createFrameReader((frame) => frames.push(frame))
        let at = 0
        for (const cut of [...cuts, stream.length]) {
          read(stream.subarray(at, at + cut))
          at += cut
        }
        expect(frames.map(({ call, content }) => [call, [...content]])).toEqual(
          contents.map((content, i) => [i, [...content]]),
        )
      },
    ),
  )
})

test('a frame that says it is too long is refused before anything is allocated', () => {
  const read = createFrameReader(() => undefined, 100)
  const [header = new Uint8Array()] = encodeFrame(frameKinds.result, 1, new Uint8Array(101))
  expect(() => read(header)).toThrow(RangeError)
})

test('batches and results keep their numbers, NaN among them; a batch of another length is refused', () => {
  const batch = { rows: 2, width: 2, values: new Float32Array([1.5, Number.NaN, -3, 4]) }
  expect(decodeBatch(joined(encodeBatch(batch)))).toEqual(batch)
  expect(() => decodeBatch(joined(encodeBatch(batch)).subarray(0, 20))).toThrow(RangeError)
  const result = { values: new Float64Array([0.25, Number.NaN]), millis: 3.5 }
  expect(decodeResult(joined(encodeResult(result)))).toEqual(result)
})
