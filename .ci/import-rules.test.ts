import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'

/** A rule that never fires protects nothing: each is shown an import that it has to refuse. */

const root = fileURLToPath(new URL('..', import.meta.url))
let folder: string

const honest: Readonly<Record<string, string>> = {
  'shared/src/core/time.ts': 'export const now = 1\n',
  'shared/src/failover/group.ts': "import '../core/time.ts'\n",
  'shared/src/protocol/link.ts': 'export const link = 1\n',
  'shared/src/testkit/world.ts': 'export const world = 1\n',
  'agent/src/main.ts': "import '../../shared/src/protocol/link.ts'\n",
  'agent/src/main.test.ts': "import '../../shared/src/testkit/world.ts'\n",
  'coordinator/src/fleet/fleet.ts': "export * from './fleet-store.ts'\n",
  'coordinator/src/fleet/fleet-store.ts': 'export const store = 1\n',
  'coordinator/src/failover/failover.ts': "import '../fleet/fleet.ts'\n",
}

/** Each rule, a file that breaks it, and what stands in the file. */
const bad: readonly (readonly [rule: string, file: string, text: string])[] = [
  ['no-cycles', 'shared/src/core/a-cycle.ts', "import './b-cycle.ts'\n"],
  ['packages-meet-in-shared', 'coordinator/src/bad.ts', "import '../../agent/src/main.ts'\n"],
  ['failover-core-is-pure', 'shared/src/failover/bad.ts', "import '../protocol/link.ts'\n"],
  ['shared-knows-no-node', 'shared/src/core/bad.ts', "import 'node:fs'\n"],
  ['testkit-is-for-tests', 'agent/src/bad.ts', "import '../../shared/src/testkit/world.ts'\n"],
  ['sdk-stays-in-its-adapter', 'coordinator/src/fleet/sdk.ts', "import '@aws-sdk/client-ec2'\n"],
  ['drivers-stay-in-storage', 'coordinator/src/fleet/driver.ts', "import 'better-sqlite3'\n"],
  [
    'enter-a-domain-by-its-front-door',
    'coordinator/src/failover/bad.ts',
    "import '../fleet/fleet-store.ts'\n",
  ],
  ['nothing-unresolvable', 'agent/src/missing.ts', "import './no-such-file.ts'\n"],
]

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'understudy-rules-'))
  for (const file of ['.dependency-cruiser.js', 'tsconfig.json', 'tsconfig.base.json', 'package.json'])
    cpSync(join(root, file), join(folder, file))
  symlinkSync(join(root, 'coordinator/node_modules'), join(folder, 'node_modules'))
  write(honest)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('an honest tree breaks no rule', () => {
  expect(violations()).toEqual([])
})

test('each rule fires', () => {
  // The SDK is not installed yet, but its rule is there: a package in its place will do.
  mkdirSync(join(folder, 'coordinator/node_modules/@aws-sdk/client-ec2'), { recursive: true })
  write({
    ...Object.fromEntries(bad.map(([, file, text]) => [file, text])),
    'shared/src/core/b-cycle.ts': "import './a-cycle.ts'\n",
    'coordinator/node_modules/@aws-sdk/client-ec2/index.js': 'export const ec2 = 1\n',
    'coordinator/node_modules/@aws-sdk/client-ec2/package.json':
      '{"name":"@aws-sdk/client-ec2","main":"index.js"}',
  })
  const found = violations()
  for (const [rule, file] of bad) expect(found).toContain(`${rule}: ${file}`)
})

function write(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
}

/** Every broken rule with the file that breaks it. */
function violations(): string[] {
  const stdout = run(['--output-type', 'json', 'agent', 'coordinator', 'shared'])
  const report = JSON.parse(stdout) as {
    summary: { totalCruised: number; violations: { rule: { name: string }; from: string }[] }
  }
  expect(report.summary.totalCruised).toBeGreaterThanOrEqual(Object.keys(honest).length)
  return report.summary.violations.map(({ rule, from }) => `${rule.name}: ${from}`)
}

/** What it prints, also when it ends with the number of violations as its exit code. */
function run(args: readonly string[]): string {
  try {
    return execFileSync(join(root, 'node_modules/.bin/depcruise'), args, { cwd: folder, encoding: 'utf8' })
  } catch (error) {
    return (error as { stdout: string }).stdout
  }
}
