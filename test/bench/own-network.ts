import { spawnSync } from 'node:child_process'

/**
 * Starts this program again in a network of its own, where the counters of loopback count nothing but it. Returns only
 * where that is not possible (it takes root, `unshare` and `ip`) or has been done already.
 */
export function moveToOwnNetwork(): void {
  if (hasOwnNetwork()) return
  const up = 'ip link set lo up'
  if (spawnSync('unshare', ['--net', 'sh', '-c', up], { stdio: 'ignore' }).status !== 0) return
  const again = ['unshare', '--net', 'sh', '-c', `${up} && exec "$@"`, 'sh', process.execPath]
  process.execve?.('/usr/bin/env', ['env', ...again, ...process.execArgv, ...process.argv.slice(1)], {
    ...process.env,
    BENCH_OWN_NETWORK: '1',
  })
}

export const hasOwnNetwork = (): boolean => process.env.BENCH_OWN_NETWORK === '1'
