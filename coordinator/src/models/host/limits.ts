import { existsSync, readFileSync } from 'node:fs'
import { type Millis, millis } from '@understudy/shared/core/time'

/** What the process of a model may use. */
export interface HostLimits {
  /** Of address space. Node alone takes 1.4 GiB of it, most of which is never memory. */
  readonly addressKib: number
  /** Of memory that is really in use; looked at every `watch`. */
  readonly rssBytes: number
  readonly watch: Millis
  /** CPU time in all. It ends a process whose coordinator was killed while the model ran. */
  readonly cpuSeconds: number
  readonly load: Millis
  /** Of one batch. */
  readonly call: Millis
}

const MIB = 1024 * 1024

export const servingLimits: HostLimits = {
  addressKib: 2_300_000,
  rssBytes: 512 * MIB,
  watch: millis(100),
  cpuSeconds: 48 * 3600,
  load: millis(10_000),
  call: millis(2000),
}

export const qualificationLimits: HostLimits = { ...servingLimits, watch: millis(25), cpuSeconds: 30 }

/**
 * Sets the limits in a shell, which then becomes the process: its id stays the same. Where the system has no such limit
 * (macOS has none of address space) the others still hold.
 */
export const limitScript = ({ addressKib, cpuSeconds }: HostLimits): string =>
  `ulimit -c 0; ulimit -f 0 2>/dev/null; ulimit -t ${cpuSeconds} 2>/dev/null; ulimit -v ${addressKib} 2>/dev/null; exec "$@"`

/** Memory in use by a process, in bytes; undefined where the system does not say, or the process has gone. */
export function rssOf(pid: number): number | undefined {
  const path = `/proc/${pid}/statm`
  if (!existsSync('/proc/self/statm')) return undefined
  try {
    return Number(readFileSync(path, 'utf8').split(' ')[1]) * PAGE
  } catch {
    return undefined
  }
}

/** Linux on x64 and, in every distribution that EC2 offers, on arm64. */
const PAGE = 4096
