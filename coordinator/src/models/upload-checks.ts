import { AppError } from '@understudy/shared/core/app-error'
import { type ModelManifest, manifestSchema } from '@understudy/shared/protocol/model-manifest'
import { modelRefused } from './refusal.ts'

/** What may be said beside the manifest, in either spelling of the seeds; it must agree with it. */
export interface UploadFields {
  readonly name?: string | undefined
  readonly version?: string | undefined
  readonly trained_until?: string | undefined
}

const fieldNames: Readonly<Record<string, keyof UploadFields>> = {
  name: 'name',
  model_name: 'name',
  version: 'version',
  trained_until: 'trained_until',
  trained_until_date: 'trained_until',
}

/** @throws AppError `input_invalid` for a field that is not known, or given twice with two values */
export function toUploadFields(given: readonly (readonly [name: string, value: string])[]): UploadFields {
  const fields: Partial<Record<keyof UploadFields, string>> = {}
  for (const [name, value] of given) {
    const field = fieldNames[name]
    if (!field)
      throw new AppError('input_invalid', `unknown field ${JSON.stringify(name.slice(0, 100))}`, {
        errors: [{ pointer: `/${name.slice(0, 100)}`, message: 'unknown key' }],
        hint: `Fields are ${Object.keys(fieldNames).join(', ')} and manifest; files are model and scaler.`,
      })
    if (fields[field] !== undefined && fields[field] !== value)
      throw new AppError('input_invalid', `${name} is given twice, with two values`)
    fields[field] = value
  }
  return fields
}

/**
 * @param today UTC
 * @throws AppError `input_invalid` with every place in the manifest that is wrong, `model_refused` (TRAINED_IN_FUTURE)
 */
export function toManifest(text: string | undefined, fields: UploadFields, today: string): ModelManifest {
  if (text === undefined)
    throw new AppError('input_invalid', 'the upload has no manifest', {
      hint: 'Send it as a field or file named manifest; docs/models.md says what it holds.',
    })
  const parsed = manifestSchema.safeParse(parseJson(text))
  if (!parsed.success) {
    const errors = parsed.error.issues.slice(0, 50).map(({ path, message }) => ({
      pointer: ['/manifest', ...path.map(String)].join('/'),
      message,
    }))
    const first = errors.slice(0, 5).map(({ pointer, message }) => `${pointer}: ${message}`)
    throw new AppError('input_invalid', `the manifest is not valid: ${first.join('; ')}`, { errors })
  }
  const manifest = parsed.data
  for (const [field, value] of Object.entries(fields) as [keyof UploadFields, string | undefined][])
    if (value !== undefined && value !== manifest[field])
      throw new AppError('input_invalid', `${field} is ${value}, but the manifest says ${manifest[field]}`, {
        errors: [{ pointer: `/${field}`, message: `the manifest says ${manifest[field]}` }],
      })
  if (manifest.trained_until > today)
    throw modelRefused(
      'TRAINED_IN_FUTURE',
      `the manifest says that it was trained with data until ${manifest.trained_until}; today is ${today}`,
      'trained_until is the last day of the training data, in UTC.',
    )
  return manifest
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new AppError('input_invalid', 'the manifest is not valid JSON', { cause })
  }
}
