import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { inflate } from '@sparticuz/chromium'
import { type Browser, chromium } from 'playwright-core'

/** Where an unpacked Chromium lies, and what it needs in its environment. */
export interface UnpackedChromium {
  readonly directory: string
  readonly executablePath: string
  readonly env: Readonly<Record<string, string>>
}

/**
 * Unpacks Chromium and the libraries that a bare machine does not have: 207 MB, so once per run, and into a directory
 * of its own, since unpacking is not atomic and another run may be doing the same.
 */
export async function unpackChromium(): Promise<UnpackedChromium> {
  const directory = await mkdtemp(join(tmpdir(), 'understudy-chromium-'))
  const archives = join(dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium')), '../bin')
  const before = process.env.TMPDIR
  process.env.TMPDIR = directory
  try {
    const executablePath = await inflate(join(archives, 'chromium.br'))
    const libraries = await inflate(join(archives, 'al2023.tar.br'))
    const fonts = await inflate(join(archives, 'fonts.tar.br'))
    return {
      directory,
      executablePath,
      env: {
        LD_LIBRARY_PATH: join(libraries, 'lib'),
        ...(existsSync('/etc/fonts/fonts.conf') ? {} : { FONTCONFIG_PATH: fonts }),
      },
    }
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    throw error
  } finally {
    if (before === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = before
  }
}

export const removeChromium = ({ directory }: UnpackedChromium): Promise<void> =>
  rm(directory, { recursive: true, force: true })

/** `--no-sandbox` because tests may run as root. */
export const launchBrowser = ({ executablePath, env }: UnpackedChromium): Promise<Browser> =>
  chromium.launch({
    executablePath,
    env: { ...process.env, ...env },
    args: ['--no-sandbox', '--disable-gpu', '--font-render-hinting=none', '--disable-lcd-text'],
  })
