import fc from 'fast-check'
import { expect, test } from 'vitest'
import { refusalOf } from '../refusal.ts'
import { scanOnnx } from './scan.ts'
import {
  attribute,
  block,
  bytes,
  initializer,
  input,
  int,
  logisticModel,
  model,
  node,
  opset,
  output,
  stumpModel,
  text,
  varint,
} from './testing.ts'

/** The code, and what was said. */
function refused(file: Uint8Array): { code: string | undefined; said: string } {
  try {
    scanOnnx(file)
  } catch (error) {
    const { message, hint } = error as { message: string; hint?: string }
    return { code: refusalOf(error), said: `${message} ${hint ?? ''}` }
  }
  return { code: undefined, said: '' }
}

const graph = (...nodes: Uint8Array[]) =>
  model([input('x', [null, 2]), ...nodes, output('p', [null, 1])], [opset(17), opset(3, 'ai.onnx.ml')])

test('a logistic model is read: operators, sizes, inputs and outputs', () => {
  expect(scanOnnx(logisticModel([1, 2, 3], 0))).toEqual({
    ir_version: 8,
    producer: 'test',
    opsets: { 'ai.onnx': 17 },
    nodes: 2,
    ops: { Gemm: 1, Sigmoid: 1 },
    initializer_bytes: 16,
    inputs: [{ name: 'x', dtype: 'float32', width: 3 }],
    outputs: [{ name: 'p', dtype: 'float32', width: 1 }],
  })
})

test('a tree ensemble of ai.onnx.ml is read', () => {
  const facts = scanOnnx(stumpModel(4, 2, 0.5, 0.1, 0.9))
  expect(facts.ops).toEqual({ TreeEnsembleRegressor: 1 })
  expect(facts.opsets).toEqual({ 'ai.onnx': 17, 'ai.onnx.ml': 3 })
  expect(facts.inputs[0]?.width).toBe(4)
})

test.each([
  ['PICKLE', [0x80, 0x04, 0x95, 0x01], 'pickle'],
  ['PICKLE', [0x78, 0x9c, 0x01, 0x02], 'joblib'],
  ['PICKLE', [...Buffer.from('(dp0\n')], 'pickle'],
  ['ARCHIVE', [0x50, 0x4b, 0x03, 0x04], 'zip'],
  ['ARCHIVE', [0x1f, 0x8b, 0x08, 0x00], 'gzip'],
  ['OTHER_FORMAT', [...Buffer.from('tree\nversion=v4\n')], 'LightGBM'],
  ['OTHER_FORMAT', [...Buffer.from('{"learner": {}}')], 'XGBoost'],
])('%s by its first bytes, with how to convert it', (code, head, word) => {
  const { code: got, said } = refused(new Uint8Array([...head, ...new Array(64).fill(0)]))
  expect(got).toBe(code)
  expect(said).toContain(word)
  expect(said).toContain('zipmap')
})

test('an empty file, garbage and text are not ONNX', () => {
  expect(refused(new Uint8Array(0)).code).toBe('NOT_ONNX')
  expect(refused(new Uint8Array(100).fill(0xff)).code).toBe('NOT_ONNX')
  expect(refused(new Uint8Array(Buffer.from('hello, world'))).code).toBe('NOT_ONNX')
})

test('a model that is cut off anywhere is refused', () => {
  const whole = stumpModel(4, 2, 0.5, 0.1, 0.9)
  for (let length = 0; length < whole.length; length += 1) {
    const { code } = refused(whole.subarray(0, length))
    expect(code, `cut after ${length} of ${whole.length} bytes`).toBeDefined()
  }
})

test('whatever the bytes are, the answer is facts or a refusal', () => {
  const whole = logisticModel([1, 2], 0)
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 8 }),
      fc.uint8Array({ maxLength: 40 }),
      (changes, tail) => {
        const file = bytes(whole, tail)
        for (const [at, byte] of changes) file[at] = byte
        try {
          expect(scanOnnx(file).nodes).toBeLessThan(100)
        } catch (error) {
          expect(refusalOf(error), String(error)).toBeDefined()
        }
      },
    ),
    { numRuns: 3000 },
  )
})

test('the allocator bomb: 163 bytes that ask for gigabytes', () => {
  const shape = bytes(int(1, 1), int(2, 7), text(8, 's'), block(7, varint(1_200_000_000)))
  const bomb = model([initializer(shape), node('ConstantOfShape', ['s'], ['p']), output('p', [null])])
  expect(bomb.length).toBeLessThan(163)
  expect(refused(bomb)).toMatchObject({
    code: 'OP_NOT_ALLOWED',
    said: expect.stringContaining('ConstantOfShape'),
  })
})

test.each(['Loop', 'Scan', 'If', 'Expand', 'Tile', 'Range', 'Resize', 'Einsum', 'Conv'])(
  '%s is not taken',
  (op) => {
    expect(refused(graph(node(op, ['x'], ['p']))).code).toBe('OP_NOT_ALLOWED')
  },
)

test('an infinite loop hidden in an allowed operator is a subgraph, and is not taken', () => {
  const body = bytes(node('Identity', ['c'], ['c2']), text(2, 'body'))
  const file = graph(node('Identity', ['x'], ['p'], { attributes: [attribute.graph('body', body)] }))
  expect(refused(file).code).toBe('SUBGRAPH')
})

test('data in a file beside the model is not read: in a weight and in a constant', () => {
  const location = block(13, bytes(text(1, 'location'), text(2, 'secret.txt')))
  const outside = bytes(int(1, 2), int(2, 1), text(8, 'w'), location, int(14, 1))
  const flagOnly = bytes(int(1, 2), int(2, 1), text(8, 'w'), int(14, 1), block(9, new Uint8Array(8)))
  expect(refused(graph(initializer(outside))).code).toBe('EXTERNAL_DATA')
  expect(refused(graph(initializer(flagOnly))).code).toBe('EXTERNAL_DATA')
  const constant = node('Constant', [], ['p'], { attributes: [attribute.tensor('value', outside)] })
  expect(refused(graph(constant)).code).toBe('EXTERNAL_DATA')
})

test('operators and opsets of other domains are not taken', () => {
  const custom = node('Evil', ['x'], ['p'], { domain: 'com.example' })
  expect(refused(graph(custom))).toMatchObject({
    code: 'DOMAIN_NOT_ALLOWED',
    said: expect.stringContaining('com.example'),
  })
  const imported = model([node('Identity', ['x'], ['p'])], [opset(17), opset(1, 'com.microsoft')])
  expect(refused(imported).code).toBe('DOMAIN_NOT_ALLOWED')
})

test('the last of two types counts for the runtime, so an operator with two is refused', () => {
  const two = block(1, bytes(text(1, 'x'), text(2, 'p'), text(4, 'Identity'), text(4, 'Loop')))
  expect(refused(graph(two)).code).toBe('NOT_ONNX')
  const domains = block(1, bytes(text(1, 'x'), text(2, 'p'), text(4, 'Relu'), text(7, ''), text(7, 'evil')))
  expect(refused(graph(domains)).code).toBe('NOT_ONNX')
})

test('a second graph and functions are refused', () => {
  const second = bytes(logisticModel([1], 0), block(7, node('Loop', ['x'], ['p'])))
  expect(refused(second).code).toBe('NOT_ONNX')
  expect(refused(bytes(logisticModel([1], 0), block(25, text(1, 'f')))).code).toBe('OP_NOT_ALLOWED')
})

test('ZipMap is named, with the option that avoids it', () => {
  const { code, said } = refused(graph(node('ZipMap', ['x'], ['p'], { domain: 'ai.onnx.ml' })))
  expect(code).toBe('ZIPMAP')
  expect(said).toContain('"zipmap": False')
})

test('an opset that the runtime does not know', () => {
  const { code, said } = refused(model([node('Identity', ['x'], ['p'])], [opset(99)]))
  expect(code).toBe('UNSUPPORTED_OPSET')
  expect(said).toContain('target_opset')
  expect(refused(model([node('Identity', ['x'], ['p'])], [])).code).toBe('UNSUPPORTED_OPSET')
})

test('a weight whose shape is not covered by its data is refused, as is one that is too large', () => {
  const hollow = bytes(int(1, 1000), int(1, 1000), int(2, 1), text(8, 'w'), block(9, new Uint8Array(4)))
  expect(refused(graph(initializer(hollow))).code).toBe('NOT_ONNX')
  const huge = bytes(int(1, 2 ** 40), int(2, 1), text(8, 'w'), block(9, new Uint8Array(4)))
  expect(refused(graph(initializer(huge))).code).toBe('INITIALIZERS_TOO_LARGE')
  const packed = bytes(block(1, bytes(varint(2 ** 20), varint(2 ** 20))), int(2, 1), text(8, 'w'))
  expect(refused(graph(initializer(packed))).code).toBe('INITIALIZERS_TOO_LARGE')
})

test('too many operators, too large a file, too wide an input', () => {
  const many = Array.from({ length: 5001 }, () => node('Identity', ['x'], ['p']))
  expect(refused(graph(...many)).code).toBe('TOO_MANY_NODES')
  expect(refused(new Uint8Array(64 * 1024 * 1024 + 1)).code).toBe('TOO_LARGE')
  expect(refused(model([input('x', [null, 2 ** 33]), node('Identity', ['x'], ['p'])])).code).toBe(
    'NOT_TABULAR',
  )
})

test('a length beyond 2^31, and one beyond the end, are refused without reading there', () => {
  expect(refused(bytes(int(1, 8), varint(7 * 8 + 2), varint(2 ** 31 + 5))).code).toBe('NOT_ONNX')
  expect(refused(bytes(int(1, 8), varint(7 * 8 + 2), varint(-1n))).code).toBe('NOT_ONNX')
  expect(refused(bytes(int(1, 8), varint(7 * 8 + 2), varint(50), new Uint8Array(10))).code).toBe('NOT_ONNX')
})

test('millions of small fields are walked in little time', () => {
  // 250,000 floats each, unpacked as Python writes them.
  const floats = new Uint8Array(Buffer.alloc(250_000 * 5, Buffer.from([7 * 8 + 5, 0, 0, 0, 63])))
  const some = block(5, bytes(text(1, 'nodes_values'), floats))
  const attributes = Array.from({ length: 10 }, () => some)
  const file = graph(node('TreeEnsembleRegressor', ['x'], ['p'], { domain: 'ai.onnx.ml', attributes }))
  expect(file.length).toBeGreaterThan(11 * 1024 * 1024)
  const start = performance.now()
  expect(scanOnnx(file).nodes).toBe(1)
  expect(performance.now() - start).toBeLessThan(30_000)
})

test('weights are counted together', () => {
  const size = 3 * 1024 * 1024
  // As booleans in `int32_data`, a constant takes no more in the file than in memory; as doubles it takes eight times as much.
  const each = bytes(int(1, size), int(2, 11), text(8, 'w'), block(10, new Uint8Array(size)))
  expect(refused(model([initializer(each), node('Identity', ['w'], ['p'])])).code).toBeUndefined()
  const three = Array.from({ length: 3 }, () => initializer(each))
  expect(refused(model([...three, node('Identity', ['w'], ['p'])])).code).toBe('INITIALIZERS_TOO_LARGE')
})
