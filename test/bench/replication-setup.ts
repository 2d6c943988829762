import { spawnSync } from 'node:child_process'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { missingPrograms } from './rsync.ts'

/** Debian asks this program whether an installed service may start; 101 is no. */
const POLICY = '/usr/sbin/policy-rc.d'
const PACKAGES = ['rsync', 'lsyncd', 'openssh-server', 'openssh-client']

/** Installs what ours is compared with. No service of it is started: the benchmark runs an sshd of its own. */
export function installRivals(say: (line: string) => void): void {
  const missing = missingPrograms()
  if (missing.length === 0) return say('set-up: rsync, lsyncd, sshd and ssh are there')
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version']).status !== 0)
    return say(`set-up: ${missing.join(', ')} missing, and only root with apt-get can install it here`)
  say(`set-up: apt-get install ${PACKAGES.join(' ')}, without starting a service`)
  const ours = !existsSync(POLICY)
  if (ours) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    const run = (...args: readonly string[]) =>
      spawnSync('apt-get', ['-q', ...args], { env, stdio: ['ignore', 'ignore', 'inherit'] }).status === 0
    if (!run('update') || !run('install', '-y', '--no-install-recommends', ...PACKAGES))
      say('set-up: apt-get has failed; what is missing is left out')
  } finally {
    if (ours) rmSync(POLICY, { force: true })
  }
}
