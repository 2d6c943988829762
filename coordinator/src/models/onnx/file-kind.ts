import { modelRefused } from '../refusal.ts'

const CONVERT =
  'Convert it where it was trained: skl2onnx.to_onnx(model, …, options={"zipmap": False}), or ' +
  'onnxmltools.convert_lightgbm / convert_xgboost(…, zipmap=False), and upload the .onnx file.'

interface Kind {
  readonly reason: 'PICKLE' | 'ARCHIVE' | 'OTHER_FORMAT'
  readonly what: string
  readonly matches: (head: Uint8Array) => boolean
}

const starts =
  (...bytes: readonly number[]) =>
  (head: Uint8Array): boolean =>
    bytes.every((byte, i) => head[i] === byte)

const text = (word: string) => starts(...Buffer.from(word))

/** Python's pickles run code when they are read, and joblib's are pickles, most often compressed. */
const kinds: readonly Kind[] = [
  {
    reason: 'PICKLE',
    what: 'a Python pickle (.pkl or .joblib), which runs code when it is loaded',
    matches: (head) => head[0] === 0x80 && (head[1] ?? 0) >= 1 && (head[1] ?? 0) <= 5,
  },
  { reason: 'PICKLE', what: 'a Python pickle of the oldest kind', matches: text('(') },
  { reason: 'PICKLE', what: 'a Python pickle of the oldest kind', matches: text('ccopy_reg') },
  {
    reason: 'PICKLE',
    what: 'compressed with zlib, as joblib does with pickles',
    matches: (head) => head[0] === 0x78 && [0x01, 0x5e, 0x9c, 0xda].includes(head[1] ?? 0),
  },
  { reason: 'PICKLE', what: 'an old joblib file', matches: text('ZF0x') },
  { reason: 'ARCHIVE', what: 'a zip archive', matches: starts(0x50, 0x4b) },
  { reason: 'ARCHIVE', what: 'compressed with gzip', matches: starts(0x1f, 0x8b) },
  { reason: 'ARCHIVE', what: 'compressed with bzip2', matches: text('BZh') },
  { reason: 'ARCHIVE', what: 'compressed with xz', matches: starts(0xfd, 0x37, 0x7a, 0x58, 0x5a) },
  { reason: 'ARCHIVE', what: 'compressed with lzma', matches: starts(0x5d, 0x00, 0x00) },
  { reason: 'ARCHIVE', what: 'compressed with zstd', matches: starts(0x28, 0xb5, 0x2f, 0xfd) },
  { reason: 'ARCHIVE', what: 'compressed with lz4', matches: starts(0x04, 0x22, 0x4d, 0x18) },
  { reason: 'ARCHIVE', what: 'a 7z archive', matches: starts(0x37, 0x7a, 0xbc, 0xaf) },
  { reason: 'OTHER_FORMAT', what: 'an HDF5 file (Keras)', matches: starts(0x89, 0x48, 0x44, 0x46) },
  { reason: 'OTHER_FORMAT', what: 'a program', matches: starts(0x7f, 0x45, 0x4c, 0x46) },
  { reason: 'OTHER_FORMAT', what: 'JSON, as XGBoost writes', matches: text('{') },
  { reason: 'OTHER_FORMAT', what: "LightGBM's own text form", matches: text('tree\n') },
]

/**
 * Looks at the first bytes of a file, whatever its name is.
 * @throws AppError `model_refused`: PICKLE, ARCHIVE, OTHER_FORMAT; NOT_ONNX for an empty file
 */
export function assertMayBeOnnx(head: Uint8Array): void {
  if (head.length === 0) throw modelRefused('NOT_ONNX', 'the file is empty')
  const kind = kinds.find(({ matches }) => matches(head))
  if (!kind) return
  const unpack = kind.reason === 'ARCHIVE' ? 'Upload the .onnx file itself, not packed. ' : ''
  throw modelRefused(kind.reason, `the file is not ONNX: it is ${kind.what}`, `${unpack}${CONVERT}`)
}
