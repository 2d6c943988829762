import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { millis, sleep, systemClock } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { createMappings } from './mappings.ts'
import { createScanner } from './scanner.ts'
import { createStateRoots, statOf } from './state-files.ts'
import { noXattrs, pair, REPLICA, scratch, until } from './testing.ts'

/** Longer than a write is taken to last, and than it takes to list what is mapped. */
const SETTLED = millis(3500)

/** SQLite maps its `-shm` and stores into it: only the first store into each part of it shows in the file's times. */
function database(directory: string) {
  mkdirSync(directory, { recursive: true })
  const file = join(directory, 'db')
  const sqlite = new DatabaseSync(file)
  sqlite.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE t (v)')
  const shm = `${file}-shm`
  return {
    shm,
    /** The bytes of the map have changed; whether nothing of it shows. It does where the kernel has just written the file out. */
    writesWithoutTrace() {
      const [before, content] = [statSync(shm, { bigint: true }).ctimeNs, readFileSync(shm)]
      sqlite.exec('INSERT INTO t VALUES (1)')
      expect(readFileSync(shm).equals(content)).toBe(false)
      return statSync(shm, { bigint: true }).ctimeNs === before
    },
    close: () => sqlite.close(),
  }
}

test('what is stored through a memory map without a trace is found before a hand-over', async () => {
  const directory = scratch()
  const { writesWithoutTrace, close } = database(directory)
  const scanner = createScanner({
    roots: createStateRoots([directory]),
    clock: systemClock,
    xattrs: noXattrs,
    onLook: () => undefined,
  })
  scanner.start()
  let before: BigUint64Array | undefined
  do {
    await scanner.full()
    await sleep(systemClock, SETTLED)
    await scanner.full()
    before = scanner.tree.file('0/db-shm')?.pages.slice()
  } while (!writesWithoutTrace())
  await scanner.exact()
  expect(scanner.tree.file('0/db-shm')?.pages.slice()).not.toEqual(before)
  scanner.stop()
  close()
})

test('a seal says that everything is there only when what was stored through a memory map is', async () => {
  const { from, to, primary, replica, follow } = await pair()
  const { shm, writesWithoutTrace, close } = database(from)
  follow()
  await until(() => replica.whole)
  do {
    await sleep(systemClock, SETTLED)
    await primary.drain(REPLICA, millis(20_000))
  } while (![1, 2, 3].every(writesWithoutTrace))
  const sealed = await primary.seal(REPLICA, millis(20_000), false)
  expect(sealed.leftBytes).toBe(0)
  expect(readFileSync(join(to, 'db-shm')).equals(readFileSync(shm))).toBe(true)
  close()
})

test('a file that is mapped, or has changed since the list was made, may change unseen', async () => {
  const directory = scratch()
  const { shm, close } = database(directory)
  const mappings = createMappings(systemClock)
  const mayHide = (name: string) => {
    const stat = statOf(Buffer.from(name))
    if (!stat) throw new Error(`there is no ${name}`)
    return mappings.mayHide(stat, systemClock.mono())
  }
  expect(mayHide(join(directory, 'db'))).toBe(true)
  await sleep(systemClock, millis(50))
  await mappings.refresh()
  expect(mayHide(shm)).toBe(true)
  expect(mayHide(join(directory, 'db'))).toBe(false)
  close()
})
