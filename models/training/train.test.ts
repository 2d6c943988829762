import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { seededRandom } from '../../shared/src/core/random.ts'
import { manifestSchema } from '../../shared/src/protocol/model-manifest.ts'

/** The whole pipeline on a small market that is made up here: prices, matrix, training, ONNX, golden rows, card. */

const here = fileURLToPath(new URL('.', import.meta.url))
const venv = process.env.MODELS_VENV ?? join(here, '.venv')
const requirements = readFileSync(join(here, 'requirements.txt'), 'utf8')
const installed = existsSync(join(venv, 'installed')) ? readFileSync(join(venv, 'installed'), 'utf8') : ''
const ready = installed === requirements
const why = ready ? '' : ` (skipped: ${venv} is not made yet or out of date, models/training/run.sh makes it)`

const folder = mkdtempSync(join(tmpdir(), 'understudy-train-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test.skipIf(!ready)(
  `a light training run learns what is there to learn, and its file says the same everywhere${why}`,
  () => {
    const prices = join(folder, 'prices.csv')
    writeFileSync(prices, madeUpMarket())
    const first = train(prices, 'a')
    const second = train(prices, 'b')
    const manifest = JSON.parse(readFileSync(join(first, 'manifest.json'), 'utf8'))
    expect(manifest.train_metrics.auc, 'momentum is there to be found').toBeGreaterThan(0.8)
    expect(manifest.golden.length).toBeGreaterThanOrEqual(10)
    expect(manifestSchema.safeParse(manifest).error, 'the coordinator takes it').toBeUndefined()
    expect(
      readFileSync(join(first, 'model.onnx')).equals(readFileSync(join(second, 'model.onnx'))),
      'the same prices give the same model',
    ).toBe(true)
    expect(readFileSync(join(first, 'card.md'), 'utf8')).toContain('A price rise is not an interruption')

    expect(python('verify.py', first).status).toBe(0)
    manifest.golden[3].y += 0.001
    writeFileSync(join(first, 'manifest.json'), JSON.stringify(manifest))
    const off = python('verify.py', first)
    expect(off.status).toBe(1)
    expect(JSON.parse(off.stdout)).toMatchObject({ off: [3], sha256: true })
  },
  120_000,
)

function train(prices: string, name: string): string {
  const out = join(folder, name)
  const { status, stderr } = python(
    'train.py',
    '--light',
    '--prices',
    prices,
    '--split',
    '2026-01-22T00:00:00Z',
    '--out',
    out,
  )
  expect(status, stderr).toBe(0)
  return out
}

const python = (program: string, ...args: readonly string[]) =>
  spawnSync(join(venv, 'bin/python'), [join(here, program), ...args], {
    encoding: 'utf8',
    // As run.sh has it.
    env: { ...process.env, PYTHONHASHSEED: '0' },
  })

/** Pools that now and then climb by 2 % every 5 h for a day, and otherwise stay where they are. */
function madeUpMarket(): string {
  const random = seededRandom(7)
  const lines = ['timestamp,availability_zone,instance_type,spot_price_usd_per_hour']
  for (const type of ['c5.large', 'm5.large', 'r5.large', 'c6.large', 'm6.large', 'r6.large'])
    for (const zone of ['sa-east-1a', 'sa-east-1b']) {
      let price = 0.1
      let climbs = 0
      for (let h = 0; h < 24 * 35; h += 5) {
        if (climbs > 0) {
          price *= 1.02
          climbs -= 1
        } else if (random() < 0.06) climbs = 6
        else if (price > 0.1) price *= 0.97
        const at = new Date(Date.UTC(2026, 0, 1) + (h + random()) * 3_600_000).toISOString()
        lines.push(`${at},${zone},${type},${price.toFixed(6)}`)
      }
    }
  return `${lines.join('\n')}\n`
}
