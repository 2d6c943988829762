import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'

/** A name that is no UTF-8. */
const ODD_NAME = Buffer.from([0x6e, 0xff, 0xfe, 0x65])

/** State of many kinds beside that of the key-value store, once for each agent. */
export function plant(state: string): void {
  const root = join(state, 'planted')
  mkdirSync(join(root, 'a/b/c'), { recursive: true })
  writeFileSync(join(root, 'a/plain'), 'a plain file\n'.repeat(1000))
  writeFileSync(join(root, 'a/empty'), '')
  writeFileSync(join(root, 'a/b/tool'), '#!/bin/sh\nexit 0\n')
  chmodSync(join(root, 'a/b/tool'), 0o750)
  writeFileSync(join(root, 'a/b/c/secret'), 'private')
  chmodSync(join(root, 'a/b/c/secret'), 0o600)
  symlinkSync('b/c/secret', join(root, 'a/link'))
  symlinkSync('/nowhere/at/all', join(root, 'a/dangling'))
  linkSync(join(root, 'a/plain'), join(root, 'a/b/second-name'))
  writeFileSync(Buffer.concat([Buffer.from(`${root}/a/`), ODD_NAME]), 'a name that is no text')
  plantSparse(join(root, 'sparse'), 8 * 1024 * 1024)
  execFileSync('mkdir', ['-p', join(root, ...Array.from({ length: 30 }, (_, depth) => `level-${depth}`))])
}

/** Almost nothing but a hole. */
export function plantSparse(path: string, bytes: number): void {
  const file = openSync(path, 'w')
  ftruncateSync(file, bytes)
  writeSync(file, 'begin', 0)
  writeSync(file, 'middle', Math.floor(bytes / 2))
  closeSync(file)
}

/** Content that no codec makes small, the same for the same name. A MiB at a time: whoever writes it may be the network too. */
export async function writeNoise(path: string, mebibytes: number): Promise<void> {
  const block = Buffer.alloc(1024 * 1024)
  const file = await open(path, 'w')
  let word = path.length | 1
  for (let part = 0; part < mebibytes; part += 1) {
    for (let at = 0; at < block.length; at += 4) {
      word ^= word << 13
      word ^= word >>> 17
      word ^= word << 5
      block.writeInt32LE(word | 0, at)
    }
    await file.write(block)
  }
  await file.close()
}
