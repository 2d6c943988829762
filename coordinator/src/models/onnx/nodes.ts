import { modelRefused } from '../refusal.ts'
import { allowedOps, modelLimits } from './allowed.ts'
import { readTensor } from './tensors.ts'
import { readText } from './text.ts'
import type { ValueFacts } from './values.ts'
import { readWire } from './wire.ts'

/** What has been seen of a graph. */
export interface GraphSoFar {
  nodes: number
  readonly ops: Map<string, number>
  /** Of its operators. */
  readonly domains: Set<string>
  initializerBytes: number
  readonly initializers: Set<string>
  readonly inputs: ValueFacts[]
  readonly outputs: ValueFacts[]
}

/** @throws AppError `model_refused`: OP_NOT_ALLOWED, DOMAIN_NOT_ALLOWED, ZIPMAP, SUBGRAPH, EXTERNAL_DATA, TOO_MANY_NODES */
export function addNode(graph: GraphSoFar, bytes: Uint8Array, from: number, to: number): void {
  graph.nodes += 1
  if (graph.nodes > modelLimits.nodes)
    throw modelRefused('TOO_MANY_NODES', `the model has more than ${modelLimits.nodes} operators`)
  let op: string | undefined
  let domain: string | undefined
  const reader = readWire(bytes, from, to)
  while (reader.next()) {
    const { number, start, end } = reader
    if (reader.wire !== 2) throw strange(number)
    switch (number) {
      case 4:
        // The runtime takes the last one; there is to be no doubt which was checked.
        if (op !== undefined) throw modelRefused('NOT_ONNX', 'an operator has two types')
        op = readText(bytes, start, end)
        break
      case 7:
        if (domain !== undefined) throw modelRefused('NOT_ONNX', 'an operator has two domains')
        domain = readText(bytes, start, end)
        break
      case 5:
        graph.initializerBytes += readAttribute(bytes, start, end)
        break
      case 1: // input
      case 2: // output
      case 3: // name
      case 6: // doc_string
      case 9: // metadata_props
        break
      default:
        throw strange(number)
    }
  }
  checkOp(op ?? '', domain ?? '')
  const name = op ?? ''
  graph.domains.add(domain ?? '')
  graph.ops.set(name, (graph.ops.get(name) ?? 0) + 1)
}

function checkOp(op: string, domain: string): void {
  if (op === 'ZipMap')
    throw modelRefused(
      'ZIPMAP',
      'the model ends in ZipMap: its probabilities are maps, which this runtime cannot hand out',
      'Export it again with options={"zipmap": False} (skl2onnx) or zipmap=False (onnxmltools).',
    )
  const allowed = allowedOps.get(domain)
  if (!allowed)
    throw modelRefused(
      'DOMAIN_NOT_ALLOWED',
      `the operator ${JSON.stringify(op)} is of the domain ${JSON.stringify(domain)}; only ONNX itself and ai.onnx.ml are taken`,
      'Export the model with standard operators only.',
    )
  if (!allowed.has(op))
    throw modelRefused(
      'OP_NOT_ALLOWED',
      `the operator ${JSON.stringify(op)} is not taken${domain ? ` in ${domain}` : ''}`,
      `What is taken: ${[...allowed].join(', ')}.`,
    )
}

/** Returns the bytes of the tensors in it. Lists of numbers, as tree ensembles have them, are only stepped over. */
function readAttribute(bytes: Uint8Array, from: number, to: number): number {
  let tensors = 0
  const reader = readWire(bytes, from, to)
  while (reader.next()) {
    switch (reader.number) {
      case 5:
      case 10:
        if (reader.wire !== 2) throw strange(reader.number)
        tensors += readTensor(bytes, reader.start, reader.end).bytes
        if (tensors > modelLimits.initializerBytes)
          throw modelRefused('INITIALIZERS_TOO_LARGE', 'the constants of an operator are too large')
        break
      case 6: // g
      case 11: // graphs
        throw modelRefused('SUBGRAPH', 'the model has a graph within its graph (a loop or a condition)')
      case 14: // tp
      case 15: // type_protos
      case 22: // sparse_tensor
      case 23: // sparse_tensors
        throw modelRefused('NOT_TABULAR', 'an operator has sparse constants or types, which are not taken')
      case 21: // ref_attr_name
        throw modelRefused('NOT_ONNX', 'an operator refers to an attribute of a function')
      case 1: // name
      case 2: // f
      case 3: // i
      case 4: // s
      case 7: // floats
      case 8: // ints
      case 9: // strings
      case 13: // doc_string
      case 20: // type
        break
      default:
        throw strange(reader.number)
    }
  }
  return tensors
}

const strange = (field: number) =>
  modelRefused('NOT_ONNX', `the file is not a readable ONNX model: an operator has the field ${field}`)
