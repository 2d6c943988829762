import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ReadableStream } from 'node:stream/web'
import { pino } from 'pino'
import { findDefaultModel } from '../../coordinator/src/models/default-model.ts'
import { createModels, type Models } from '../../coordinator/src/models/models.ts'
import { attribute, input, model, node, opset, output } from '../../coordinator/src/models/onnx/testing.ts'
import { openDatabase } from '../../coordinator/src/storage/database.ts'
import { migrate } from '../../coordinator/src/storage/migrate.ts'
import { seededRandom } from '../../shared/src/core/random.ts'
import { systemClock } from '../../shared/src/core/time.ts'
import { type Bench, type BenchResult, formatTable, percentile } from './bench.ts'
import { timeCandidates, timeLightGbm } from './models-candidates.ts'

const WIDTH = 30
/** Of features and predictions of 500 and 5,000 candidates, at p99, in milliseconds. */
const AIMS = [5, 30]

/** What serving a model costs: the default one, and an ensemble of trees whose numbers mean nothing. */
export const bench: Bench = {
  summary: 'Models: predictions over the process of a model, a swap under load, going back, start and memory',
  options: {
    trees: { value: 300, doc: 'trees of the model, each with 31 leaves' },
    runs: { value: 300, doc: 'batches of each size' },
    clients: { value: 8, doc: 'callers at once while versions are swapped' },
    swaps: { value: 10, doc: 'swaps under load' },
  },
  texts: {
    python: { value: 'python3', doc: 'a Python with LightGBM; without it that comparison is left out' },
  },
  async run({ trees = 0, runs = 0, clients = 0, swaps = 0 }, progress, given) {
    const directory = mkdtempSync(join(tmpdir(), 'understudy-bench-models-'))
    const database = await openDatabase({ store: 'sqlite', path: join(directory, 'bench.db') })
    await migrate(database.db)
    const models = createModels({
      db: database.db,
      clock: systemClock,
      log: pino({ level: 'silent' }),
      directory: join(directory, 'files'),
      refresh: 'off',
      defaultModel: findDefaultModel(),
    })
    const stop = new AbortController()
    const running = models.run(stop.signal)
    try {
      const python = given.texts.python ?? 'python3'
      return await measure(models, { trees, runs, clients, swaps, python }, progress)
    } finally {
      stop.abort()
      await running
      await database.close()
      rmSync(directory, { recursive: true, force: true })
    }
  },
}

async function measure(
  models: Models,
  options: { trees: number; runs: number; clients: number; swaps: number; python: string },
  progress: (line: string) => void,
): Promise<BenchResult> {
  progress('the default model')
  await untilActive(models)
  const candidates = []
  for (const rows of [500, 5000]) {
    progress(`features and predictions of ${rows} candidates, ${options.runs} times`)
    candidates.push(await timeCandidates(models, rows, options.runs))
  }
  progress('uploading two versions')
  const first = await upload(models, '1.0.0', options.trees, 1)
  const second = await upload(models, '2.0.0', options.trees, 2)
  const cold = await models.registry.activate(first, 'bench', 'cold start')
  const sizes = []
  for (const rows of [1, 500, 5000]) {
    progress(`${options.runs} batches of ${rows}`)
    sizes.push({ rows, ...(await timeBatches(models, rows, options.runs)) })
  }
  progress(`${options.swaps} swaps under load`)
  const swaps = await swapUnderLoad(models, [first, second], options)
  const memory = models.serving.hosts().map(({ alias, pid }) => ({ alias, ...memoryOf(pid ?? 0) }))
  progress('LightGBM')
  const theirs = await timeLightGbm(options.python, { ...options, features: WIDTH, sizes: [500, 5000] })
  const ms = (value: number) => value.toFixed(2)
  const table = [
    formatTable(
      ['milliseconds, default model', 'runs', 'p50', 'p99', 'features p50', 'aim for p99'],
      candidates.map(({ rows, whole, features }, i) => [
        `${rows} candidates: features and predictions`,
        options.runs,
        ms(percentile(whole, 50)),
        ms(percentile(whole, 99)),
        ms(percentile(features, 50)),
        AIMS[i] ?? '',
      ]),
    ),
    formatTable(
      ['milliseconds', 'runs', 'p50', 'p99', 'in the runtime p50'],
      sizes.map(({ rows, whole, inside }) => [
        `${rows} rows of ${WIDTH} features`,
        options.runs,
        ms(percentile(whole, 50)),
        ms(percentile(whole, 99)),
        ms(percentile(inside, 50)),
      ]),
    ),
    theirs
      ? formatTable(
          [`milliseconds, predict of LightGBM ${theirs.version}`, 'runs', 'p50', 'p99'],
          theirs.sizes.map(({ rows, threads, millis }) => [
            `${rows} rows of ${WIDTH} features, ${theirs.trees} trees, ${threads === 1 ? 'one thread' : `${threads} threads`}`,
            options.runs,
            ms(percentile(millis, 50)),
            ms(percentile(millis, 99)),
          ]),
        )
      : `no LightGBM: ${options.python} does not have it (--python names another)`,
    formatTable(
      ['changes of the active version, milliseconds', 'runs', 'p50', 'max'],
      [
        ['first activation (process, load, golden rows)', 1, ms(cold.took_ms), ms(cold.took_ms)],
        [
          `swaps under load of ${options.clients} callers`,
          swaps.took.length,
          ms(percentile(swaps.took, 50)),
          ms(Math.max(...swaps.took)),
        ],
      ],
    ),
    `requests during the swaps: ${swaps.answered} answered, ${swaps.failed} failed, ${swaps.wrong} by neither version`,
    ...memory.map(
      ({ alias, rssMib, anonMib }) => `memory of ${alias}: ${rssMib} MiB, ${anonMib} of them its own`,
    ),
  ].join('\n\n')
  return {
    table,
    json: { options, candidates, cold: cold.took_ms, sizes, lightgbm: theirs ?? null, swaps, memory },
    ok: swaps.failed === 0 && swaps.wrong === 0,
  }
}

/** Its trial has 10 s, which a machine that is busy with other things may not keep. */
async function untilActive(models: Models): Promise<void> {
  const limit = performance.now() + 30_000
  while (!models.serving.active) {
    if (performance.now() > limit) throw new Error('the default model has not passed its trial within 30 s')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function timeBatches(models: Models, rows: number, runs: number) {
  const random = seededRandom(rows)
  const values = Float32Array.from({ length: rows * WIDTH }, () => random())
  const whole: number[] = []
  const inside: number[] = []
  for (let run = 0; run < runs; run += 1) {
    const { millis, runMillis } = await models.predict(values)
    whole.push(millis)
    inside.push(runMillis)
  }
  return { whole, inside }
}

/** Back and forth: each is a fallback to a process that is warm, while callers never stop. */
async function swapUnderLoad(
  models: Models,
  ids: readonly [string, string],
  { clients, swaps }: { clients: number; swaps: number },
) {
  const counts = { answered: 0, failed: 0, wrong: 0 }
  let go = true
  const values = new Float32Array(500 * WIDTH).fill(0.5)
  const callers = Array.from({ length: clients }, async () => {
    while (go)
      try {
        const { model: by } = await models.predict(values)
        counts.answered += 1
        if (!ids.includes(by.id)) counts.wrong += 1
      } catch {
        counts.failed += 1
      }
  })
  const took: number[] = []
  const pause = () => new Promise((resolve) => setTimeout(resolve, 200))
  await pause()
  for (let swap = 0; swap < swaps; swap += 1) {
    const result =
      swap === 0
        ? await models.registry.activate(ids[1], 'bench', 'swap')
        : await models.registry.rollBack('bench', 'swap')
    took.push(result.took_ms)
    await pause()
  }
  go = false
  await Promise.all(callers)
  return { ...counts, took }
}

function memoryOf(pid: number): { rssMib: number; anonMib: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const mib = (key: string) =>
    Math.round(Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0) / 1024)
  return { rssMib: mib('VmRSS'), anonMib: mib('RssAnon') }
}

async function upload(models: Models, version: string, trees: number, seed: number): Promise<string> {
  const file = forest(trees, seed)
  const golden = Array.from({ length: 10 }, (_, i) => ({
    x: new Array(WIDTH).fill(i / 10),
    y: 0.5,
    tol: 0.01,
  }))
  const form = new FormData()
  form.append('file', new Blob([file as Uint8Array<ArrayBuffer>]), 'model.onnx')
  form.append('manifest', JSON.stringify(manifestOf(file, version, golden)))
  const request = new Request('http://bench', { method: 'POST', body: form })
  const { model_id: id } = await models.upload({
    actor: 'bench',
    sessionId: undefined,
    total: null,
    key: null,
    contentType: request.headers.get('content-type') ?? '',
    body: request.body as ReadableStream<Uint8Array>,
  })
  return id
}

function manifestOf(file: Uint8Array, version: string, golden: unknown) {
  return {
    name: 'bench',
    version,
    sha256: createHash('sha256').update(file).digest('hex'),
    opset: 17,
    input: {
      name: 'x',
      dtype: 'float32',
      features: Array.from({ length: WIDTH }, (_, i) => ({
        name: `f${i}`,
        unit: '1',
        nullable: true,
        min: 0,
        max: 1,
      })),
    },
    output: { name: 'p', index: 0, kind: 'probability', positive_class: 1 },
    target: { id: 'none', definition: 'for measuring only', horizon_h: 12 },
    trained_until: '2020-06-30',
    coverage: { regions: [], families: [] },
    decision_threshold: 0.5,
    train_metrics: { n: 0, base_rate: 0, precision: 0, recall: 0, f1: 0, auc: 0, threshold: 0 },
    golden,
  }
}

/** Complete trees of 31 leaves (one branch is a leaf early), summed, through the logistic function; close to 0.5. */
function forest(trees: number, seed: number): Uint8Array {
  const { list, values, modes, weights } = growTrees(trees, seed)
  const { ints, floats, strings, int, string } = attribute
  return model(
    [
      input('x', [null, WIDTH]),
      node('TreeEnsembleRegressor', ['x'], ['z'], {
        domain: 'ai.onnx.ml',
        attributes: [
          int('n_targets', 1),
          ints('nodes_treeids', list.tree),
          ints('nodes_nodeids', list.id),
          ints('nodes_featureids', list.feature),
          floats('nodes_values', values),
          strings('nodes_modes', modes),
          ints('nodes_truenodeids', list.left),
          ints('nodes_falsenodeids', list.right),
          ints('target_treeids', list.leafTree),
          ints('target_nodeids', list.leaf),
          ints('target_ids', list.target),
          floats('target_weights', weights),
          string('post_transform', 'NONE'),
        ],
      }),
      node('Sigmoid', ['z'], ['p']),
      output('p', [null, 1]),
    ],
    [opset(17), opset(3, 'ai.onnx.ml')],
  )
}

function growTrees(trees: number, seed: number) {
  const random = seededRandom(seed)
  const inner = 30
  const list: Record<
    'tree' | 'id' | 'feature' | 'left' | 'right' | 'leafTree' | 'leaf' | 'target',
    number[]
  > = {
    tree: [],
    id: [],
    feature: [],
    left: [],
    right: [],
    leafTree: [],
    leaf: [],
    target: [],
  }
  const values: number[] = []
  const modes: string[] = []
  const weights: number[] = []
  const add = (
    tree: number,
    id: number,
    feature: number,
    value: number,
    children: readonly [number, number],
  ) => {
    list.tree.push(tree)
    list.id.push(id)
    list.feature.push(feature)
    values.push(value)
    modes.push(id < inner ? 'BRANCH_LEQ' : 'LEAF')
    list.left.push(children[0])
    list.right.push(children[1])
  }
  for (let tree = 0; tree < trees; tree += 1) {
    for (let id = 0; id < inner; id += 1)
      add(tree, id, Math.floor(random() * WIDTH), random(), [2 * id + 1, 2 * id + 2])
    for (let id = inner; id <= 2 * inner; id += 1) {
      add(tree, id, 0, 0, [0, 0])
      list.leafTree.push(tree)
      list.leaf.push(id)
      list.target.push(0)
      weights.push((random() - 0.5) / trees / 100)
    }
  }
  return { list, values, modes, weights }
}
