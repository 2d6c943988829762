import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSerial } from '@understudy/shared/core/serial'
import { hours, instant, minutes } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import fc from 'fast-check'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import {
  boundedPrices,
  lastHour,
  MOST_SAMPLES,
  type PriceSample,
  parsePrices,
  toPriceLines,
} from './price-lines.ts'
import { openPriceQueue } from './price-queue.ts'

const scratch: string[] = []
afterEach(() => {
  for (const directory of scratch.splice(0)) rmSync(directory, { recursive: true, force: true })
})
function newFile(): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-prices-'))
  scratch.push(directory)
  return join(directory, 'prices.jsonl')
}

const START = 1_700_000_000_000
const sample = (minutesAgo: number, more: Partial<PriceSample> = {}): PriceSample => ({
  pool: 'c5.large@us-east-1a',
  at: new Date(START - minutesAgo * 60_000).toISOString(),
  usd: 0.0416,
  instance: 'i-first1',
  role: 'primary',
  ...more,
})

function open(path: string, time = createVirtualTime(START)) {
  const lines: string[] = []
  let mine = true
  const queue = openPriceQueue({
    path,
    isOpen: () => mine,
    write: createSerial(),
    clock: time.clock,
    log: pino({ level: 'debug' }, { write: (line: string) => lines.push(line) }),
  })
  queue.reload()
  return { queue, time, lines, give: (to: boolean) => (mine = to) }
}
const inFile = (path: string) => parsePrices(readFileSync(path, 'utf8'))

test('what was added waits, oldest first, until it is settled, also after a restart', async () => {
  const path = newFile()
  const first = open(path)
  await first.queue.add([sample(10), sample(20)])
  await first.queue.add([sample(5)])
  expect(first.queue.waiting(2)).toEqual([sample(20), sample(10)])
  expect(first.queue).toMatchObject({ size: 3, since: sample(20).at })
  first.queue.settle(first.queue.waiting(2))
  expect(first.queue.size).toBe(1)

  // Not saved yet: they are sent once more.
  expect(open(path).queue.size).toBe(3)
  await first.queue.save()
  const second = open(path)
  expect(second.queue.waiting(10)).toEqual([sample(5)])
  // What has been sent is still part of the last hour.
  expect(lastHour(inFile(path), START)).toHaveLength(3)
})

test('new samples are appended, and a file that holds much that is over is replaced', async () => {
  const path = newFile()
  const { queue, time } = open(path)
  await queue.add([sample(1)])
  const { ino } = statSync(path)
  await queue.add([sample(0)])
  expect(statSync(path).ino).toBe(ino)
  for (let round = 0; round < 12; round += 1) {
    await time.advance(hours(2))
    const now = new Date(time.clock.now()).toISOString()
    await queue.add(
      Array.from({ length: 20 }, (_, n) => sample(0, { at: now, pool: `c5.n${n}large@us-east-1a` })),
    )
    queue.settle(queue.waiting(1000))
    await queue.save()
  }
  expect(inFile(path)).toHaveLength(20)
})

test('a torn last line costs only itself, and the next one is not glued to it', async () => {
  const path = newFile()
  writeFileSync(path, `${toPriceLines([sample(9)])}${toPriceLines([sample(8)]).slice(0, 30)}`)
  const { queue } = open(path)
  expect(queue.waiting(10)).toEqual([sample(9)])
  await queue.add([sample(7)])
  expect(inFile(path)).toEqual([sample(9), sample(7)])
})

test('wherever a crash cuts the file, everything before the cut is there, and what comes later too', async () => {
  const all = Array.from({ length: 8 }, (_, index) => sample(20 - index))
  const text = toPriceLines(all)
  await fc.assert(
    fc.asyncProperty(fc.nat(text.length), async (cut) => {
      const path = newFile()
      writeFileSync(path, text.slice(0, cut))
      const whole = text.slice(0, cut).split('\n').length - 1
      const { queue } = open(path)
      const found = queue.waiting(100)
      // A line whose end alone is missing is whole as well.
      expect(found.slice(0, whole)).toEqual(all.slice(0, whole))
      expect(found.length - whole).toBeLessThanOrEqual(1)
      await queue.add([sample(1)])
      expect(open(path).queue.waiting(100)).toEqual([...found, sample(1)])
    }),
    { numRuns: 60 },
  )
})

test('whatever happens to it, a queue loses nothing and sends nothing twice that was saved as sent', async () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('add' as const),
      minute: fc.nat(60),
      pool: fc.constantFrom('a', 'b', 'c'),
    }),
    fc.record({ kind: fc.constant('send' as const), most: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ kind: fc.constantFrom('restart' as const, 'tear' as const, 'another' as const) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const path = newFile()
      let { queue } = open(path)
      const added = new Set<string>()
      const sent = new Set<string>()
      const keyOf = ({ pool, at }: PriceSample) => `${pool} ${at}`
      for (const one of steps) {
        if (one.kind === 'add') {
          const given = sample(one.minute, { pool: `c5.large@us-east-1${one.pool}` })
          added.add(keyOf(given))
          await queue.add([given])
        } else if (one.kind === 'send') {
          const some = queue.waiting(one.most)
          for (const each of some) expect(sent.has(keyOf(each))).toBe(false)
          for (const each of some) sent.add(keyOf(each))
          queue.settle(some)
          await queue.save()
        } else {
          damage(one.kind, path)
          queue = open(path).queue
        }
      }
      expect(new Set(queue.waiting(1000).map(keyOf))).toEqual(
        new Set([...added].filter((key) => !sent.has(key))),
      )
    }),
    { numRuns: 60 },
  )
})
function damage(how: 'restart' | 'tear' | 'another', path: string): void {
  if (how === 'tear') appendFileSync(path, '{"pool":"c5.la')
  if (how !== 'another') return
  const lines = existsSync(path) ? inFile(path) : []
  writeFileSync(path, `null\n{}\n[1]\n\u0000\n${toPriceLines(lines)}`)
}

test('the order in which samples are given changes nothing, nor does giving them again', () => {
  const any = fc.record({
    minute: fc.integer({ min: -30, max: 11_000 }),
    pool: fc.constantFrom('c5.large@us-east-1a', 'm5.large@us-east-1b'),
    sent: fc.boolean(),
  })
  fc.assert(
    fc.property(
      fc
        .array(any, { maxLength: 40 })
        .chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
      ([list, shuffled]) => {
        const toSamples = (given: typeof list) =>
          given.map(({ minute, pool, sent }) => sample(minute, { pool, ...(sent ? { sent } : {}) }))
        const key = ({ pool, at, sent }: PriceSample) => `${at} ${pool} ${sent}`
        const one = boundedPrices(toSamples(list), START)
        const other = boundedPrices(toSamples([...shuffled, ...list]), START)
        expect(other.kept.map(key).sort()).toEqual(one.kept.map(key).sort())
        expect(other.dropped).toBe(one.dropped)
        expect(boundedPrices(one.kept, START)).toEqual({ kept: one.kept, dropped: 0 })
      },
    ),
  )
})

test('too many: what has been sent goes first, then the oldest, and both are counted right', async () => {
  const many = Array.from({ length: MOST_SAMPLES }, (_, index) =>
    sample(0, { at: new Date(START - 3_000_000 + index).toISOString() }),
  )
  const recent = sample(1, { pool: 'm5.large@us-east-1a', sent: true })
  const full = boundedPrices([recent, ...many], START)
  expect(full.kept).toHaveLength(MOST_SAMPLES)
  expect(full.dropped).toBe(0)
  expect(full.kept).not.toContainEqual(recent)

  const path = newFile()
  const { queue, lines } = open(path)
  await queue.add(many)
  await queue.add([sample(0), sample(0, { pool: 'm5.large@us-east-1a' })])
  expect(queue).toMatchObject({ size: MOST_SAMPLES, dropped: 2 })
  expect(queue.waiting(1)[0]).toEqual(many[2])
  expect(lines.join('')).toContain('prices.dropped')
  expect(open(path).queue.size).toBe(MOST_SAMPLES)
})

test('what nobody takes for a week is dropped', async () => {
  const { queue, time } = open(newFile())
  await queue.add([sample(0)])
  await time.advance(minutes(7 * 24 * 60 - 1))
  await queue.add([sample(0, { at: new Date(time.clock.now()).toISOString() })])
  expect(queue).toMatchObject({ size: 2, dropped: 0 })
  await time.advance(minutes(2))
  await queue.add([sample(0, { at: new Date(time.clock.now()).toISOString() })])
  expect(queue).toMatchObject({ size: 2, dropped: 1 })
})

test('what cannot be written, as on a full disk, is kept, told once, and written when it can be', async () => {
  const path = newFile()
  // A directory in the way: neither a file to append to nor one to replace.
  mkdirSync(join(path, 'in-the-way'), { recursive: true })
  const { queue, lines } = open(path)
  await queue.add([sample(3)])
  await queue.add([sample(2)])
  expect(queue.size).toBe(2)
  expect(queue.degraded).toMatchObject({
    code: 'prices_not_kept',
    hint: expect.stringContaining('Free space'),
  })
  expect(lines.filter((line) => line.includes('prices.not_written'))).toHaveLength(1)
  rmSync(path, { recursive: true })
  await queue.add([sample(1)])
  expect(queue.degraded).toBeUndefined()
  expect(inFile(path)).toEqual([sample(3), sample(2), sample(1)])
})

test('links that came with the stream are not written through', async () => {
  const path = newFile()
  const outside = `${path}.outside`
  writeFileSync(outside, toPriceLines([sample(9)]))
  for (const name of [path, `${path}.next`]) symlinkSync(outside, name)
  const { queue } = open(path)
  expect(queue.size).toBe(0)
  await queue.add([sample(1)])
  expect(inFile(outside)).toEqual([sample(9)])
  expect(inFile(path)).toEqual([sample(1)])
})

test('who may not write has nothing and adds nothing; who may again reads what is there', async () => {
  const path = newFile()
  const first = open(path)
  await first.queue.add([sample(5)])
  first.give(false)
  await first.queue.add([sample(4)])
  expect(first.queue).toMatchObject({ size: 0, since: undefined })
  expect(first.queue.waiting(10)).toEqual([])
  await open(path).queue.add([sample(3)])
  first.give(true)
  first.queue.reload()
  expect(first.queue.waiting(10)).toEqual([sample(5), sample(3)])
})

test('lines of before, without who took them, are prices of the last hour and never sent', () => {
  const { instance: _, role: __, ...old } = sample(5)
  const read = parsePrices(
    `${JSON.stringify(old)}\n{"pool":"c5.large@us-east-1a","at":"soon","usd":1}\n{"pool":7}\n`,
  )
  expect(read).toEqual([old])
  expect(lastHour(read, instant(START))).toEqual([old])
})
