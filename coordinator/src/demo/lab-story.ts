import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { type ModelManifest, manifestSchema } from '@understudy/shared/protocol/model-manifest'
import { modelListSchema, uploadResultSchema } from '@understudy/shared/protocol/models'
import { z } from 'zod'
import { variantsOf } from './lab-models.ts'

const FOLDER = join('models', 'registry', 'price-instability', '1.0.0')
const INSTANCE = 'i-lab-test-001'

/** The model that comes with the coordinator: beside the bundle, or in a checkout. */
export function findLabModel(): string | undefined {
  const here = dirname(fileURLToPath(import.meta.url))
  return [here, join(here, '..'), join(here, '../../..')]
    .map((place) => join(place, FOLDER))
    .find((folder) => existsSync(join(folder, 'manifest.json')))
}

/**
 * What the examples of the Lab speak of: `model-001` to `model-003`, and an instance in an account for experiments. All of it by
 * the public API: each model goes through its trial. Done twice it ends where it began.
 * @throws AppError `unavailable` with what the coordinator said
 */
export async function defineLab(url: string, folder: string): Promise<void> {
  const file = await readFile(join(folder, 'model.onnx'))
  const original = manifestSchema.parse(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')))
  const { cautious, twoLevel } = variantsOf(original)
  for (const [i, manifest] of [original, cautious, twoLevel].entries()) {
    const id = await upload(url, file, manifest)
    await call(url, 'PUT', `/api/v1/lab/models/model-00${i + 1}/name`, { model_id: id })
    if (i === 0 && !(await anyActive(url)))
      await call(url, 'POST', '/api/v1/ml/models/activate', { model_id: id })
  }
  await call(url, 'PUT', `/api/v1/lab/config/${INSTANCE}`, {
    account_environment: 'LAB_INTERNAL',
    aws_region: 'ap-south-1',
  })
}

/** A trial has 10 s, which is little where a whole fleet starts beside it. */
const TRIALS = 5

async function upload(url: string, file: Uint8Array, manifest: ModelManifest): Promise<string> {
  for (let trial = 1; ; trial += 1)
    try {
      return await uploadOnce(url, file, manifest)
    } catch (error) {
      const late = isAppError(error) && ['TIME_LIMIT', 'TOO_SLOW'].includes(String(error.facts.reason))
      if (!late || trial === TRIALS) throw error
    }
}

async function uploadOnce(url: string, file: Uint8Array, manifest: ModelManifest): Promise<string> {
  const form = new FormData()
  form.append('file', new Blob([new Uint8Array(file)]), 'model.onnx')
  form.append('manifest', JSON.stringify(manifest))
  const answer = await send(url, '/api/v1/ml/models/upload', { method: 'POST', body: form })
  return uploadResultSchema.parse(answer).model_id
}

const anyActive = async (url: string): Promise<boolean> =>
  modelListSchema
    .parse(await call(url, 'GET', '/api/v1/ml/models/list'))
    .items.some(({ status }) => status === 'active')

const call = (url: string, method: string, path: string, body?: unknown): Promise<unknown> =>
  send(url, path, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })

const problemAnswer = z.object({ detail: z.string(), facts: z.record(z.string(), z.unknown()).optional() })

async function send(url: string, path: string, request: RequestInit): Promise<unknown> {
  const response = await fetch(`${url}${path}`, request)
  const answer: unknown = await response.json()
  if (response.ok) return answer
  const problem = problemAnswer.safeParse(answer).data
  throw new AppError('unavailable', `${path}: ${problem?.detail ?? response.status}`, {
    facts: problem?.facts ?? {},
  })
}
