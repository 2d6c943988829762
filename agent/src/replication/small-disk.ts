import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A file system of a few MiB, for tests of what happens when it is full. */
export function mountSmallDisk(directory: string, mebibytes: number): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', directory], { stdio: 'ignore' })
}

export const enlargeDisk = (directory: string, mebibytes: number): void =>
  void execFileSync('mount', ['-o', `remount,size=${mebibytes}m`, directory])

export const unmountDisk = (directory: string): void => void execFileSync('umount', ['-l', directory])

/** To the last byte. */
export function fillDisk(directory: string): void {
  for (const size of [65_536, 4096, 1])
    for (let at = 0; ; at += 1)
      try {
        writeFileSync(join(directory, `filler-${size}-${at}`), Buffer.alloc(size, 1))
      } catch {
        break
      }
}

/** Found out by trying: root in a container may often not. */
export const canMount = ((): boolean => {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-mount-'))
  try {
    mountSmallDisk(directory, 1)
    unmountDisk(directory)
    return true
  } catch {
    return false
  } finally {
    rmdirSync(directory)
  }
})()
