import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { extname, join, relative, sep } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { Context } from 'hono'
import type { AppEnv } from './env.ts'

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.txt': 'text/plain; charset=utf-8',
}

interface StaticFile {
  readonly body: Uint8Array<ArrayBuffer>
  readonly type: string
  readonly etag: string
  /** Made when somebody first asks for it; undefined where it would not be smaller. */
  readonly zipped: () => Uint8Array<ArrayBuffer> | undefined
}

/** Fonts and pictures are compressed already. */
const ZIPPED: ReadonlySet<string> = new Set(['.html', '.js', '.css', '.svg', '.json', '.txt'])
const takesGzip = (accepted: string): boolean =>
  accepted.split(',').some((each) => /^\s*gzip\s*(?:;(?!\s*q=0(?:\.0*)?\s*$).*)?$/.test(each))

/**
 * Serves the built dashboard from memory: the whole of it is well under a megabyte, and nothing outside its directory
 * can be asked for; compressed for whoever takes it. The only inline script is allowed by its hash.
 */
export function createStaticFiles(
  directory: string,
): ((c: Context<AppEnv>) => Response | undefined) | undefined {
  const files = readAll(directory)
  const index = files.get('/index.html')
  if (!index) return undefined
  const policy = contentSecurityPolicy(Buffer.from(index.body).toString('utf8'))
  return (c) => {
    const { path } = c.req
    const file = path === '/' ? index : files.get(path)
    if (!file) return undefined
    const zipped = takesGzip(c.req.header('accept-encoding') ?? '') ? file.zipped() : undefined
    const etag = zipped ? `${file.etag.slice(0, -1)}-gzip"` : file.etag
    if (c.req.header('if-none-match') === etag) return c.body(null, 304)
    return c.body(zipped ?? file.body, 200, {
      'content-type': file.type,
      etag,
      vary: 'accept-encoding',
      ...(zipped ? { 'content-encoding': 'gzip' } : {}),
      'cache-control': path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
      'content-security-policy': policy,
    })
  }
}

function readAll(directory: string): ReadonlyMap<string, StaticFile> {
  const files = new Map<string, StaticFile>()
  for (const path of listFiles(directory)) {
    const body = new Uint8Array(readFileSync(path))
    const name = `/${relative(directory, path).split(sep).join('/')}`
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 24)}"`
    const extension = extname(path)
    files.set(name, {
      body,
      type: types[extension] ?? 'application/octet-stream',
      etag,
      zipped: ZIPPED.has(extension) ? once(() => smallerOf(body)) : () => undefined,
    })
  }
  return files
}

function smallerOf(body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  const zipped = new Uint8Array(gzipSync(body, { level: 9 }))
  return zipped.byteLength < body.byteLength ? zipped : undefined
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

function listFiles(directory: string): string[] {
  try {
    return readdirSync(directory, { recursive: true, encoding: 'utf8' })
      .map((name) => join(directory, name))
      .filter((path) => statSync(path).isFile())
  } catch {
    // It was not built; the API works without it.
    return []
  }
}

function contentSecurityPolicy(html: string): string {
  const scripts = [...html.matchAll(/<script>([\s\S]*?)<\/script>/g)].map(
    ([, text = '']) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`,
  )
  return [
    "default-src 'self'",
    `script-src 'self' ${scripts.join(' ')}`.trim(),
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'self'",
  ].join('; ')
}
