import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Where SQLite's native file is. A checkout finds it in the package; beside a bundle it lies in `better-sqlite3/`,
 * one for each platform and C library, since a bundle has no packages.
 */
export function nativeBinding(): { readonly nativeBinding?: string } {
  const folder = join(import.meta.dirname, 'better-sqlite3')
  if (!existsSync(folder)) return {}
  return {
    nativeBinding: join(folder, `${process.platform}${usesMusl() ? 'musl' : ''}-${process.arch}.node`),
  }
}

/** Alpine and its like: the loader of their C library is mapped into every process. */
function usesMusl(): boolean {
  try {
    return /\/ld-musl-[^/\s]*\.so/.test(readFileSync('/proc/self/maps', 'latin1'))
  } catch {
    return false
  }
}
