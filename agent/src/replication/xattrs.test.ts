import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isAppError } from '@understudy/shared/core/app-error'
import { decodeXattrs, encodeXattrs } from '@understudy/shared/protocol/xattrs'
import fc from 'fast-check'
import { pino } from 'pino'
import { afterEach, describe, expect, test } from 'vitest'
import { complaintsOf, createDumpReader, toDump } from './xattr-dump.ts'
import { openXattrs } from './xattrs.ts'

const lines: string[] = []
const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) })
const root = process.geteuid?.() === 0

const cleanups: (() => void)[] = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
  lines.length = 0
})
function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-xattrs-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function readDump(text: string, step = 7): Map<string, unknown> {
  const found = new Map<string, unknown>()
  const reader = createDumpReader(
    () => true,
    (path, attributes) => found.set(path, attributes),
  )
  for (let at = 0; at < text.length; at += step) reader.push(text.slice(at, at + step))
  reader.end()
  return found
}

const byte = fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code))
const bytes = fc.array(byte, { minLength: 1, maxLength: 12 }).map((parts) => parts.join(''))

test('a dump is read back in any portions, whatever bytes names hold', () => {
  fc.assert(
    fc.property(bytes, bytes, bytes, fc.integer({ min: 1, max: 9 }), (path, name, value, step) => {
      const attributes = [{ name: `user.${name}`, value }]
      const dump = toDump(Buffer.from(`/${path}`, 'latin1'), attributes)
      expect(readDump(dump + dump, step)).toEqual(new Map([[`/${path}`, encodeXattrs(attributes)]]))
    }),
  )
})

test('what getfattr prints is understood, and what does not travel is left out', () => {
  const printed = [
    '# file: /t/a b\\134c\\012\xff=\xc3\xbc',
    'user.a=0x310a',
    'security.selinux=0x00',
    '',
    '# file: /t/plain',
    'user.empty=0x',
    'user.we\\075i\\012rd\\134 x=0x71',
    '',
    '',
  ].join('\n')
  expect(readDump(printed)).toEqual(
    new Map([
      ['/t/a b\\c\n\xff=\xc3\xbc', encodeXattrs([{ name: 'user.a', value: '1\n' }])],
      [
        '/t/plain',
        encodeXattrs([
          { name: 'user.empty', value: '' },
          { name: 'user.we=i\nrd\\ x', value: 'q' },
        ]),
      ],
    ]),
  )
})

test('attributes that are too large are an error of that file', () => {
  const large = toDump(Buffer.from('/large'), [{ name: 'user.a', value: 'x'.repeat(70_000) }])
  const small = toDump(Buffer.from('/small'), [{ name: 'user.a', value: 'x' }])
  const found = readDump(large + small, 4096)
  expect(isAppError(found.get('/large'), 'payload_too_large')).toBe(true)
  expect(found.get('/small')).toBe('user.a\x001\0x')
})

test('a complaint is about the file that it names, with colons and line feeds in it too', () => {
  const known = new Set(['/a', '/a: b', '/n\nl'])
  const said =
    'getfattr: /a: b: No such file or directory\n/n\\012l: user.x: Operation not supported\nxargs: something else\n'
  expect(complaintsOf(said, (path) => known.has(path))).toEqual(
    new Map([
      ['/a: b', '/a: b: No such file or directory'],
      ['/n\nl', '/n\\012l: user.x: Operation not supported'],
      [undefined, 'xargs: something else'],
    ]),
  )
})

test('without the tools it says so once, reads nothing and refuses to write', async () => {
  const path = process.env.PATH
  process.env.PATH = scratch()
  try {
    const xattrs = await openXattrs(log)
    expect(xattrs.available).toBe(false)
    expect(lines.join('')).toContain('apt-get install attr')
    expect(await xattrs.read([Buffer.from('/')])).toEqual([''])
    expect(await xattrs.readTree(Buffer.from('/'))).toEqual(new Map())
    await expect(xattrs.write(Buffer.from('/nowhere'), 'user.a\x001\0x')).rejects.toThrow(
      'cannot be set here',
    )
    await expect(xattrs.write(Buffer.from('/nowhere'), '')).resolves.toBeUndefined()
  } finally {
    process.env.PATH = path
  }
})

/** Why the real tools cannot be tried here, undefined where they can. */
function untestable(): string | undefined {
  for (const tool of ['getfattr', 'setfattr'])
    if (spawnSync(tool, ['--version']).error) return `${tool} is not installed (apt-get install attr)`
  const directory = mkdtempSync(join(tmpdir(), 'understudy-xattrs-'))
  const { status } = spawnSync('setfattr', ['-n', 'user.try', '-v', '1', directory])
  rmSync(directory, { recursive: true })
  return status === 0 ? undefined : `the file system of ${tmpdir()} takes no user attributes`
}
const why = untestable()

describe.skipIf(why !== undefined)(`with the real tools${why ? ` (skipped: ${why})` : ''}`, () => {
  const ODD = Buffer.concat([Buffer.from('a b\\c\n: #='), Buffer.from([0xff, 0x09]), Buffer.from('ü\\040')])
  const text = (...list: [string, string][]) => encodeXattrs(list.map(([name, value]) => ({ name, value })))
  const below = (directory: string, name: string | Buffer) =>
    Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(name)])

  test('attributes of names with odd bytes are set, changed, removed and read, and each failure is its own', async () => {
    const base = scratch()
    const paths = [below(base, ODD), below(base, 'plain'), below(base, 'gone\n: x'), below(base, '-r')]
    for (const path of [paths[0], paths[1], paths[3]]) writeFileSync(path as Buffer, 'content')
    const xattrs = await openXattrs(log)
    expect(xattrs.available).toBe(true)
    const odd = text(['user.a', '\0\n\xff"'], ['user.b=c\n\\ \xfe', ''], ['user.c', 'x'.repeat(2000)])
    const first = await xattrs.writeAll([
      { path: paths[0] as Buffer, attributes: odd },
      { path: paths[1] as Buffer, attributes: text(['user.keep', '1'], ['user.drop', '2']) },
      { path: paths[2] as Buffer, attributes: text(['user.a', '1']) },
      { path: paths[3] as Buffer, attributes: 'nonsense' },
    ])
    expect(first.slice(0, 2)).toEqual([undefined, undefined])
    expect(String(first[2])).toContain('No such file or directory')
    expect(isAppError(first[3], 'protocol')).toBe(true)
    const read = await xattrs.read(paths)
    expect(read[0]).toBe(odd)
    expect(read[1]).toBe(text(['user.keep', '1'], ['user.drop', '2']))
    expect(isAppError(read[2], 'state_unreadable')).toBe(true)
    expect(read[3]).toBe('')

    const second = await xattrs.writeAll([
      { path: paths[0] as Buffer, attributes: '' },
      { path: paths[1] as Buffer, attributes: text(['user.keep', '3']) },
    ])
    expect(second).toEqual([undefined, undefined])
    expect((await xattrs.read(paths)).slice(0, 2)).toEqual(['', text(['user.keep', '3'])])
  })

  test('a tree is read whole, and links are neither followed nor changed', async () => {
    const base = scratch()
    const outside = scratch()
    mkdirSync(join(base, 'd'))
    writeFileSync(join(outside, 'target'), '')
    writeFileSync(below(join(base, 'd'), ODD), '')
    symlinkSync(join(outside, 'target'), join(base, 'link'))
    symlinkSync(outside, join(base, 'dirlink'))
    const xattrs = await openXattrs(log)
    await xattrs.write(Buffer.from(join(outside, 'target')), text(['user.outside', '1']))
    await xattrs.write(below(join(base, 'd'), ODD), text(['user.a', '1']))
    await xattrs.write(Buffer.from(base), text(['user.root', '1']))
    expect(await xattrs.readTree(Buffer.from(base))).toEqual(
      new Map([
        [base, text(['user.root', '1'])],
        [below(join(base, 'd'), ODD).toString('latin1'), text(['user.a', '1'])],
      ]),
    )
    expect(await xattrs.read([Buffer.from(join(base, 'link'))])).toEqual([''])
    await expect(xattrs.write(Buffer.from(join(base, 'link')), text(['user.x', '1']))).rejects.toThrow(
      'cannot be set',
    )
    expect(await xattrs.read([Buffer.from(join(outside, 'target'))])).toEqual([text(['user.outside', '1'])])
    if (root) {
      await xattrs.write(Buffer.from(join(base, 'link')), text(['trusted.x', '1']))
      expect(await xattrs.read([Buffer.from(join(base, 'link'))])).toEqual([text(['trusted.x', '1'])])
      expect(lstatSync(join(base, 'link')).isSymbolicLink()).toBe(true)
    }
    expect(lines).toEqual([])
  })

  test.skipIf(!root)('as root capabilities and access control lists travel', async () => {
    const base = scratch()
    const [from, to] = [Buffer.from(join(base, 'from')), Buffer.from(join(base, 'to'))]
    writeFileSync(from, '')
    writeFileSync(to, '')
    const xattrs = await openXattrs(log)
    // cap_net_bind_service+ep; user::rw- user:1000:r-- group::r-- mask::r-- other::r--, as the kernel keeps them.
    execFileSync('setfattr', [
      '-n',
      'security.capability',
      '-v',
      '0x0100000200040000000000000000000000000000',
      from.toString(),
    ])
    const acl = '0x0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff'
    execFileSync('setfattr', ['-n', 'system.posix_acl_access', '-v', acl, from.toString()])
    const [attributes] = await xattrs.read([from])
    expect(decodeXattrs(attributes as string).map(({ name }) => name)).toEqual([
      'security.capability',
      'system.posix_acl_access',
    ])
    await xattrs.write(to, attributes as string)
    expect(await xattrs.read([to])).toEqual([attributes])
  })

  test('tools that vanish while the agent runs are an answer for every file', async () => {
    const base = scratch()
    const xattrs = await openXattrs(log)
    const path = process.env.PATH
    process.env.PATH = base
    try {
      const [read] = await xattrs.read([Buffer.from(base)])
      expect(String(read)).toContain('xargs cannot be run (ENOENT)')
      expect(await xattrs.readTree(Buffer.from(base))).toEqual(new Map())
      expect(lines.join('')).toContain('xattrs.unreadable')
      const [written] = await xattrs.writeAll([
        { path: Buffer.from(base), attributes: text(['user.a', '1']) },
      ])
      expect(isAppError(written, 'state_unreadable')).toBe(true)
    } finally {
      process.env.PATH = path
    }
  })

  test('many files go through few processes', async () => {
    const base = scratch()
    const paths = Array.from({ length: 2500 }, (_, index) => below(base, `${'n'.repeat(80)}${index}`))
    for (const path of paths) writeFileSync(path, '')
    const xattrs = await openXattrs(log)
    const entries = paths.map((path, index) => ({
      path,
      attributes: text(['user.n', String(index)], ['user.x', '']),
    }))
    expect((await xattrs.writeAll(entries)).every((result) => result === undefined)).toBe(true)
    const fewer = paths.map((path, index) => ({ path, attributes: text(['user.n', String(index)]) }))
    expect((await xattrs.writeAll(fewer)).every((result) => result === undefined)).toBe(true)
    expect(await xattrs.read(paths)).toEqual(fewer.map(({ attributes }) => attributes))
  })

  test.skipIf(!root)(
    'a file that may not be changed says why, and the others are changed',
    async ({ skip }) => {
      const base = scratch()
      const [fixed, free] = [Buffer.from(join(base, 'fixed')), Buffer.from(join(base, 'free'))]
      writeFileSync(fixed, '')
      writeFileSync(free, '')
      if (spawnSync('chattr', ['+i', fixed.toString()]).status !== 0)
        return skip('this file system has no immutable files')
      cleanups.unshift(() => spawnSync('chattr', ['-i', fixed.toString()]))
      chmodSync(free, 0o400)
      const xattrs = await openXattrs(log)
      const results = await xattrs.writeAll(
        [fixed, free].map((path) => ({ path, attributes: text(['user.a', '1']) })),
      )
      expect(String(results[0])).toMatch(/cannot be set .*Operation not permitted/)
      expect(results[1]).toBeUndefined()
    },
  )
})
