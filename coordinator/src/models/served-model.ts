import type { ModelManifest } from '@understudy/shared/protocol/model-manifest'
import type { Qualification } from '@understudy/shared/protocol/models'
import type { LoadRequest } from './host/frames.ts'
import type { ModelHost } from './host/model-host.ts'

/** A version with its files, as a host is given it. */
export interface ServedModel {
  readonly id: string
  readonly sha256: string
  readonly manifest: ModelManifest
  /** Null before there is one: while it is being made. */
  readonly qualification: Qualification | null
}

export interface ModelFiles {
  readonly model: Uint8Array
  readonly scaler: Uint8Array | undefined
}

const loadRequest = ({
  input,
  output,
  scaler,
}: ModelManifest): Omit<LoadRequest, 'modelBytes' | 'scalerBytes'> => ({
  input: input.name,
  dtype: input.dtype,
  output: output.name,
  index: output.index,
  scaler: scaler ? { input: scaler.input, output: scaler.output } : null,
})

/** @throws as `ModelHost.load` */
export const loadInto = (
  host: ModelHost,
  { manifest }: Pick<ServedModel, 'manifest'>,
  files: ModelFiles,
): Promise<void> => host.load(loadRequest(manifest), files.model, files.scaler)
