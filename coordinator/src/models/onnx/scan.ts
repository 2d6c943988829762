import type { ModelFacts } from '@understudy/shared/protocol/models'
import { modelRefused } from '../refusal.ts'
import { allowedOps, modelLimits, newestOpset } from './allowed.ts'
import { assertMayBeOnnx } from './file-kind.ts'
import { addNode, type GraphSoFar } from './nodes.ts'
import { readTensor } from './tensors.ts'
import { readText } from './text.ts'
import { readValueInfo } from './values.ts'
import { readWire } from './wire.ts'

/**
 * Reads a model without running it, and refuses whatever is not a plain model of tables: operators that are not on the list,
 * other domains, graphs within graphs, data in other files, sizes beyond the limits. Nothing is allocated by what the file
 * says of itself. Fields that are not known here are refused too, since the runtime might know them.
 * Numbers of fields: onnx.proto of ONNX 1.19.
 * @throws AppError `model_refused`
 */
export function scanOnnx(bytes: Uint8Array): ModelFacts {
  if (bytes.length > modelLimits.fileBytes)
    throw modelRefused(
      'TOO_LARGE',
      `the file has ${bytes.length} bytes; at most ${modelLimits.fileBytes} are taken`,
    )
  assertMayBeOnnx(bytes)
  const model = readModel(bytes)
  checkOpsets(model.opsets, model.graph.domains)
  return {
    ir_version: model.irVersion,
    producer: model.producer,
    opsets: Object.fromEntries([...model.opsets].map(([domain, version]) => [canonical(domain), version])),
    nodes: model.graph.nodes,
    ops: Object.fromEntries(model.graph.ops),
    initializer_bytes: model.graph.initializerBytes,
    inputs: model.graph.inputs.filter(({ name }) => !model.graph.initializers.has(name)),
    outputs: model.graph.outputs,
  }
}

interface ModelSoFar {
  irVersion: number
  producer: string
  readonly opsets: Map<string, number>
  readonly graph: GraphSoFar
}

function readModel(bytes: Uint8Array): ModelSoFar {
  const opsets = new Map<string, number>()
  let irVersion = 0
  let producer = ''
  let graph: GraphSoFar | undefined
  const reader = readWire(bytes, 0, bytes.length)
  while (reader.next()) {
    const { number, start, end } = reader
    expectWire(number, reader.wire, number === 1 || number === 5 ? 0 : 2)
    switch (number) {
      case 1:
        irVersion = reader.value
        break
      case 2:
        producer = readText(bytes, start, end)
        break
      case 3: // producer_version
      case 4: // domain
      case 5: // model_version
      case 6: // doc_string
      case 14: // metadata_props
        break
      case 7:
        // A second one would be merged into the first by the runtime.
        if (graph) throw modelRefused('NOT_ONNX', 'the model has two graphs')
        graph = readGraph(bytes, start, end)
        break
      case 8: {
        const [domain, version] = readOpset(bytes, start, end)
        opsets.set(domain, version)
        break
      }
      case 20:
        throw modelRefused(
          'OP_NOT_ALLOWED',
          'the model has a part for training',
          'Export it for inference only.',
        )
      case 25:
        throw modelRefused('OP_NOT_ALLOWED', 'the model defines functions of its own', INLINE)
      default:
        throw unknownField('the model', number)
    }
  }
  if (irVersion < 1 || !graph)
    throw modelRefused('NOT_ONNX', 'the file is not an ONNX model: it has no graph')
  return { irVersion, producer, opsets, graph }
}

const INLINE = 'Inline them first: onnx.inliner.inline_local_functions(model).'

function readGraph(bytes: Uint8Array, from: number, to: number): GraphSoFar {
  const graph: GraphSoFar = {
    nodes: 0,
    ops: new Map(),
    domains: new Set(),
    initializerBytes: 0,
    initializers: new Set(),
    inputs: [],
    outputs: [],
  }
  const reader = readWire(bytes, from, to)
  while (reader.next()) {
    const { number, start, end } = reader
    expectWire(number, reader.wire, 2)
    switch (number) {
      case 1:
        addNode(graph, bytes, start, end)
        break
      case 5: {
        const tensor = readTensor(bytes, start, end)
        graph.initializers.add(tensor.name)
        addBytes(graph, tensor.bytes)
        break
      }
      case 11:
        addValue(graph.inputs, bytes, start, end)
        break
      case 12:
        addValue(graph.outputs, bytes, start, end)
        break
      case 2: // name
      case 10: // doc_string
      case 13: // value_info
      case 16: // metadata_props
        break
      case 15:
        throw modelRefused('NOT_TABULAR', 'the model has sparse weights, which are not taken')
      default:
        throw unknownField('the graph', number)
    }
  }
  return graph
}

function addBytes(graph: GraphSoFar, bytes: number): void {
  graph.initializerBytes += bytes
  if (graph.initializerBytes <= modelLimits.initializerBytes) return
  throw modelRefused(
    'INITIALIZERS_TOO_LARGE',
    `the weights take more than ${modelLimits.initializerBytes / 1024 / 1024} MiB`,
  )
}

function addValue(list: GraphSoFar['inputs'], bytes: Uint8Array, start: number, end: number): void {
  if (list.length >= modelLimits.values)
    throw modelRefused('NOT_TABULAR', `the model has more than ${modelLimits.values} inputs or outputs`)
  list.push(readValueInfo(bytes, start, end))
}

function readOpset(bytes: Uint8Array, from: number, to: number): [domain: string, version: number] {
  let domain = ''
  let version = 0
  const reader = readWire(bytes, from, to)
  while (reader.next()) {
    if (reader.number === 1 && reader.wire === 2) domain = readText(bytes, reader.start, reader.end)
    else if (reader.number === 2 && reader.wire === 0) version = reader.value
    else throw unknownField('an opset', reader.number)
  }
  return [domain, version]
}

function checkOpsets(opsets: ReadonlyMap<string, number>, used: ReadonlySet<string>): void {
  const imported = new Set([...opsets.keys()].map(canonical))
  for (const domain of used)
    if (!imported.has(canonical(domain)))
      throw modelRefused(
        'UNSUPPORTED_OPSET',
        `the model does not say which opset of ${canonical(domain)} it uses`,
        'The file may be cut off: check it with onnx.checker.check_model(path).',
      )
  for (const [domain, version] of opsets) {
    const newest = newestOpset.get(domain)
    if (newest === undefined || !allowedOps.has(domain))
      throw modelRefused(
        'DOMAIN_NOT_ALLOWED',
        `the model uses operators of the domain ${JSON.stringify(domain)}; only those of ONNX itself and of ai.onnx.ml are taken`,
        'Export it with standard operators only.',
      )
    if (version < 1 || version > newest)
      throw modelRefused(
        'UNSUPPORTED_OPSET',
        `the model needs opset ${version} of ${canonical(domain)}; this runtime knows 1 to ${newest}`,
        `Export it with target_opset=${newest} or lower.`,
      )
  }
}

const canonical = (domain: string): string => domain || 'ai.onnx'

function expectWire(field: number, wire: number, expected: number): void {
  if (wire !== expected)
    throw modelRefused('NOT_ONNX', `the file is not a readable ONNX model (field ${field})`)
}

const unknownField = (where: string, field: number) =>
  modelRefused(
    'NOT_ONNX',
    `${where} has a field that ONNX 1.19 does not have (${field})`,
    'Export it with an older version of ONNX, or upload the .onnx file if this is something else.',
  )
