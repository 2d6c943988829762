import { spawn } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const dashboard = fileURLToPath(new URL('../dashboard', import.meta.url))
const shared = fileURLToPath(new URL('../shared/src', import.meta.url))

/** Where the built page lies. */
export const dashboardFolder = join(dashboard, 'dist')

/** Builds the dashboard unless the build that is there is newer than everything it was made from. */
export async function buildDashboard(): Promise<void> {
  const built = join(dashboardFolder, 'index.html')
  const sources = ['src', 'public', 'index.html', 'vite.config.ts', 'package.json'].map((name) =>
    join(dashboard, name),
  )
  if (existsSync(built) && statSync(built).mtimeMs > Math.max(...[...sources, shared].map(newest))) return
  // A process of its own: vitest sets the mode to test in this one, and the build must be the real one.
  const { VITEST: _, NODE_ENV: __, ...env } = process.env
  await new Promise<void>((resolve, reject) => {
    const child = spawn(process.execPath, [join(dashboard, 'node_modules/vite/bin/vite.js'), 'build'], {
      cwd: dashboard,
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    child.once('error', reject)
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`the dashboard could not be built (exit code ${code})`)),
    )
  })
}

function newest(path: string): number {
  const own = statSync(path)
  if (!own.isDirectory()) return own.mtimeMs
  return Math.max(own.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))))
}
