import fs, { type PathLike, readFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'
import { isMainThread } from 'node:worker_threads'

/**
 * Loaded with `--import` before an agent or a coordinator, into each of its threads: lets the harness move the clocks
 * that the program reads, hold its main thread, or fill its heap. What is wanted stands in the file FAULT_CONTROL.
 */

export interface Inside {
  /** Added to the wall clock, milliseconds. */
  readonly wall?: number
  /** The wall clock jumps between `wall` and 0 this often, milliseconds. */
  readonly strobe?: number
  /** How fast all clocks run; 1.05 gains 3 s a minute. */
  readonly rate?: number
  /** Reading a file with this in its path gives EIO. */
  readonly badBlock?: string
  /** Done once, by the main thread, at SIGUSR2. */
  readonly act?: { readonly block: number } | 'exhaust'
}

const LOOK_EVERY = 50
const path = process.env.FAULT_CONTROL ?? ''
let wanted: Inside = {}
let since = { real: 0, shown: 0 }
let wallShown = 0

const RealDate = Date
const realNow = Date.now.bind(Date)
const realMono = performance.now.bind(performance)

/** Milliseconds that the monotonic clocks are ahead of the real one. */
const ahead = (): number => {
  const real = realMono()
  return since.shown + (real - since.real) * ((wanted.rate ?? 1) - 1)
}
const strobed = (): number =>
  wanted.strobe && Math.floor(realMono() / wanted.strobe) % 2 === 1 ? 0 : wallShown
const shownNow = (): number => Math.round(realNow() + strobed() + ahead())

function look(): void {
  const next = read()
  since = { real: realMono(), shown: ahead() }
  wanted = next
  wallShown = next.wall ?? 0
}

function read(): Inside {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Inside
  } catch {
    // Not there: nothing is wanted.
    return {}
  }
}

class ShownDate extends RealDate {
  constructor(...parts: readonly unknown[]) {
    if (parts.length === 0) super(shownNow())
    else super(...(parts as [number]))
  }
  static override now(): number {
    return shownNow()
  }
}

function moveClocks(): void {
  globalThis.Date = ShownDate as DateConstructor
  performance.now = () => realMono() + ahead()
  const nanoseconds = process.hrtime.bigint.bind(process.hrtime)
  const shown = () => nanoseconds() + BigInt(Math.round(ahead() * 1e6))
  process.hrtime = Object.assign(
    (before?: [number, number]): [number, number] => {
      const total = shown() - (before ? BigInt(before[0]) * 1_000_000_000n + BigInt(before[1]) : 0n)
      return [Number(total / 1_000_000_000n), Number(total % 1_000_000_000n)]
    },
    { bigint: shown },
  )
  const uptime = os.uptime.bind(os)
  os.uptime = () => uptime() + ahead() / 1000
  syncBuiltinESMExports()
}

const readError = (): NodeJS.ErrnoException =>
  Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', errno: -5, syscall: 'read' })

const isBad = (path: PathLike): boolean =>
  wanted.badBlock !== undefined && path.toString().includes(wanted.badBlock)

/** As a bad block of a disk does: the file opens, and reading it fails. */
function breakReads(): void {
  const { openSync, readSync } = fs
  const { open } = fs.promises
  const bad = new Set<number>()
  fs.openSync = (path, ...rest) => {
    const file = openSync(path, ...rest)
    if (isBad(path)) bad.add(file)
    else bad.delete(file)
    return file
  }
  fs.readSync = ((file: number, ...rest: [NodeJS.ArrayBufferView]) => {
    if (bad.has(file)) throw readError()
    return readSync(file, ...rest)
  }) as typeof readSync
  fs.promises.open = async (path, ...rest) => {
    const file = await open(path, ...rest)
    if (isBad(path)) file.read = () => Promise.reject(readError())
    return file
  }
  syncBuiltinESMExports()
}

function act(): void {
  const { act: wish } = read()
  if (wish === 'exhaust') {
    const hoard: unknown[] = []
    for (;;) hoard.push(new Array(100_000).fill({}))
  }
  if (wish) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, wish.block)
}

if (path !== '') {
  moveClocks()
  breakReads()
  setInterval(look, LOOK_EVERY).unref()
  if (isMainThread) process.on('SIGUSR2', act)
}
