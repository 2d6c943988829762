import { isAbsolute } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AppError } from '@understudy/shared/core/app-error'

/** Where snapshots go, as `snapshot_store` says. */
export type StoreLocation =
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string }

const HINT = 'Write s3://bucket/prefix, file:///path, or the absolute path of a directory.'

/** @throws AppError `input_invalid` */
export function parseLocation(text: string): StoreLocation {
  if (isAbsolute(text)) return { kind: 'directory', path: text }
  if (text.startsWith('file://')) return { kind: 'directory', path: pathOf(text) }
  const s3 = /^s3:\/\/([^/]*)\/?(.*)$/.exec(text)
  if (!s3) throw new AppError('input_invalid', 'it is neither s3:// nor file:// nor a path', { hint: HINT })
  const [, bucket = '', rest = ''] = s3
  const prefix = rest.replace(/\/+$/, '')
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket))
    throw new AppError('input_invalid', `"${bucket}" is not the name of a bucket`, { hint: HINT })
  if (prefix !== '' && !/^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/.test(prefix))
    throw new AppError(
      'input_invalid',
      'a prefix has only letters, digits, dots, dashes, underscores and /',
      {
        hint: HINT,
      },
    )
  return { kind: 's3', bucket, prefix }
}

function pathOf(url: string): string {
  try {
    return fileURLToPath(url)
  } catch (cause) {
    throw new AppError('input_invalid', 'a file:// address has three slashes and a path', {
      hint: HINT,
      cause,
    })
  }
}
