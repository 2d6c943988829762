import { openSync, readSync } from 'node:fs'
import { type Mono, mono } from '@understudy/shared/core/time'

const text = Buffer.alloc(64)
/** Kept open, so that a daemon that has no more files to open can still read it. */
let file: number | undefined

/**
 * How long this machine has been up, rounded down to 10 ms: CLOCK_BOOTTIME, which goes on while the machine is
 * suspended. It is the clock of the guard, which can read it without starting a program.
 * @throws Error from the system where there is no /proc
 */
export function bootTime(): Mono {
  file ??= openSync('/proc/uptime', 'r')
  const length = readSync(file, text, 0, text.length, 0)
  return mono(Math.round(Number.parseFloat(text.toString('latin1', 0, length)) * 100) * 10)
}
