/** What a model may have. Every one of them works on tables, and none runs a graph within the graph. */
const general = `
  MatMul Gemm Add Sub Mul Div Sigmoid Softmax Relu Tanh LeakyRelu Elu Exp Log Sqrt Abs Neg Pow Concat Cast Reshape Flatten
  Squeeze Unsqueeze Transpose Gather Slice Split ArgMax ReduceSum ReduceMean ReduceMax ReduceMin Clip Where Less Greater
  Equal And Or Not Identity Constant Dropout BatchNormalization LayerNormalization`

const machineLearning = `
  TreeEnsembleClassifier TreeEnsembleRegressor TreeEnsemble LinearClassifier LinearRegressor SVMClassifier SVMRegressor
  Normalizer Scaler Imputer OneHotEncoder LabelEncoder ArrayFeatureExtractor FeatureVectorizer Binarizer`

const namesOf = (list: string): ReadonlySet<string> => new Set(list.trim().split(/\s+/))

/** By domain; the domain of ONNX itself is empty, and `ai.onnx` is another way to write it. */
export const allowedOps: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ['', namesOf(general)],
  ['ai.onnx', namesOf(general)],
  ['ai.onnx.ml', namesOf(machineLearning)],
])

/** The newest that the runtime knows (onnxruntime 1.30). */
export const newestOpset: ReadonlyMap<string, number> = new Map([
  ['', 26],
  ['ai.onnx', 26],
  ['ai.onnx.ml', 5],
])

const MIB = 1024 * 1024

export const modelLimits = {
  fileBytes: 64 * MIB,
  nodes: 5000,
  initializerBytes: 64 * MIB,
  /** Inputs or outputs. */
  values: 64,
  /** Columns of the input. */
  width: 1000,
  nameBytes: 1000,
} as const

/** Bytes of one element, by TensorProto.DataType; strings and unknown ones are left out. */
export const elementBytes: Readonly<Record<number, number>> = {
  1: 4,
  2: 1,
  3: 1,
  4: 2,
  5: 2,
  6: 4,
  7: 8,
  9: 1,
  10: 2,
  11: 8,
  12: 4,
  13: 8,
  16: 2,
}

const dtypes: Readonly<Record<number, string>> = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  5: 'int16',
  6: 'int32',
  7: 'int64',
  8: 'string',
  9: 'bool',
  10: 'float16',
  11: 'float64',
}

export const STRING_TYPE = 8
export const dtypeName = (type: number): string => dtypes[type] ?? `type ${type}`
