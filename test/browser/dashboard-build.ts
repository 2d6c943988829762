import { spawn } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const dashboard = fileURLToPath(new URL('../../dashboard', import.meta.url))
const shared = fileURLToPath(new URL('../../shared/src', import.meta.url))

/** Builds the dashboard unless the build that is there is newer than everything it was made from. */
export async function buildDashboard(): Promise<void> {
  const built = join(dashboard, 'dist/index.html')
  const sources = [
    ...['src', 'public', 'index.html', 'vite.config.ts'].map((name) => join(dashboard, name)),
    shared,
  ]
  if (existsSync(built) && statSync(built).mtimeMs > Math.max(...sources.map(newest))) return
  // A process of its own: in this one vitest has set the mode to test, and the build must be the real one.
  const { VITEST: _, NODE_ENV: __, ...env } = process.env
  await new Promise<void>((resolve, reject) => {
    const child = spawn(process.execPath, [join(dashboard, 'node_modules/vite/bin/vite.js'), 'build'], {
      cwd: dashboard,
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    child.once('error', reject)
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`the dashboard could not be built (${code})`)),
    )
  })
}

function newest(path: string): number {
  const own = statSync(path)
  if (!own.isDirectory()) return own.mtimeMs
  return Math.max(own.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))))
}
