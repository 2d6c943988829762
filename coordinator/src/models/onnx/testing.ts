/** A small writer of protobuf and of ONNX models, so that tests need no Python. Numbers of fields: onnx.proto. */

export const bytes = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

export function varint(value: number | bigint): Uint8Array {
  let left = BigInt.asUintN(64, BigInt(value))
  const out: number[] = []
  do {
    const low = Number(left & 0x7fn)
    left >>= 7n
    out.push(left > 0n ? low | 0x80 : low)
  } while (left > 0n)
  return new Uint8Array(out)
}

export const int = (field: number, value: number | bigint): Uint8Array =>
  bytes(varint(field * 8), varint(value))

export const block = (field: number, content: Uint8Array): Uint8Array =>
  bytes(varint(field * 8 + 2), varint(content.length), content)

export const text = (field: number, value: string): Uint8Array =>
  block(field, new Uint8Array(Buffer.from(value)))

const float = (field: number, value: number): Uint8Array => {
  const content = Buffer.alloc(4)
  content.writeFloatLE(value)
  return bytes(varint(field * 8 + 5), content)
}

const FLOAT = 1

/** `name: type` of the attributes of a node. */
export const attribute = {
  int: (name: string, value: number) => block(5, bytes(text(1, name), int(3, value), int(20, 2))),
  float: (name: string, value: number) => block(5, bytes(text(1, name), float(2, value), int(20, 1))),
  string: (name: string, value: string) => block(5, bytes(text(1, name), text(4, value), int(20, 3))),
  ints: (name: string, values: readonly number[]) =>
    block(5, bytes(text(1, name), ...values.map((value) => int(8, value)), int(20, 7))),
  floats: (name: string, values: readonly number[]) =>
    block(5, bytes(text(1, name), ...values.map((value) => float(7, value)), int(20, 6))),
  strings: (name: string, values: readonly string[]) =>
    block(5, bytes(text(1, name), ...values.map((value) => text(9, value)), int(20, 8))),
  graph: (name: string, content: Uint8Array) => block(5, bytes(text(1, name), block(6, content), int(20, 5))),
  tensor: (name: string, content: Uint8Array) =>
    block(5, bytes(text(1, name), block(5, content), int(20, 4))),
}

export function node(
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  options: { readonly domain?: string; readonly attributes?: readonly Uint8Array[] } = {},
): Uint8Array {
  return block(
    1,
    bytes(
      ...inputs.map((name) => text(1, name)),
      ...outputs.map((name) => text(2, name)),
      text(4, op),
      ...(options.attributes ?? []),
      ...(options.domain === undefined ? [] : [text(7, options.domain)]),
    ),
  )
}

/** The content of a TensorProto of float32. */
export function tensor(name: string, dims: readonly number[], values: readonly number[]): Uint8Array {
  const raw = Buffer.alloc(values.length * 4)
  for (const [i, value] of values.entries()) raw.writeFloatLE(value, i * 4)
  return bytes(
    ...dims.map((size) => int(1, size)),
    int(2, FLOAT),
    text(8, name),
    block(9, new Uint8Array(raw)),
  )
}

export const initializer = (content: Uint8Array): Uint8Array => block(5, content)

/** `null` is the batch: a dimension with a name. */
export function value(name: string, dims: readonly (number | null)[], type = FLOAT): Uint8Array {
  const shape = bytes(...dims.map((size) => block(1, size === null ? text(2, 'N') : int(1, size))))
  return bytes(text(1, name), block(2, block(1, bytes(int(1, type), block(2, shape)))))
}

export const input = (...of: Parameters<typeof value>): Uint8Array => block(11, value(...of))
export const output = (...of: Parameters<typeof value>): Uint8Array => block(12, value(...of))

export const opset = (version: number, domain?: string): Uint8Array =>
  block(8, bytes(...(domain === undefined ? [] : [text(1, domain)]), int(2, version)))

export function model(graph: readonly Uint8Array[], opsets: readonly Uint8Array[] = [opset(17)]): Uint8Array {
  return bytes(int(1, 8), text(2, 'test'), block(7, bytes(...graph, text(2, 'g'))), ...opsets)
}

/** p = sigmoid(w·x + b): one input `x`, one output `p` with one column. */
export function logisticModel(weights: readonly number[], bias: number): Uint8Array {
  return model([
    input('x', [null, weights.length]),
    initializer(tensor('w', [weights.length, 1], weights)),
    initializer(tensor('b', [1], [bias])),
    node('Gemm', ['x', 'w', 'b'], ['z']),
    node('Sigmoid', ['z'], ['p']),
    output('p', [null, 1]),
  ])
}

/** x[feature] <= threshold ? low : high, as a TreeEnsembleRegressor, as LightGBM's converter makes them. */
export function stumpModel(
  width: number,
  feature: number,
  threshold: number,
  low: number,
  high: number,
): Uint8Array {
  const { ints, floats, strings, int: one, string } = attribute
  return model(
    [
      input('x', [null, width]),
      node('TreeEnsembleRegressor', ['x'], ['p'], {
        domain: 'ai.onnx.ml',
        attributes: [
          one('n_targets', 1),
          ints('nodes_treeids', [0, 0, 0]),
          ints('nodes_nodeids', [0, 1, 2]),
          ints('nodes_featureids', [feature, 0, 0]),
          floats('nodes_values', [threshold, 0, 0]),
          strings('nodes_modes', ['BRANCH_LEQ', 'LEAF', 'LEAF']),
          ints('nodes_truenodeids', [1, 0, 0]),
          ints('nodes_falsenodeids', [2, 0, 0]),
          ints('target_treeids', [0, 0]),
          ints('target_nodeids', [1, 2]),
          ints('target_ids', [0, 0]),
          floats('target_weights', [low, high]),
          string('post_transform', 'NONE'),
        ],
      }),
      output('p', [null, 1]),
    ],
    [opset(17), opset(3, 'ai.onnx.ml')],
  )
}
