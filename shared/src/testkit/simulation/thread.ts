import { parentPort } from 'node:worker_threads'
import { optionsOf } from './aims.ts'
import { runBatch } from './batch.ts'
import type { Share } from './threads.ts'

/** One thread of `runSchedules`: a share in, its sum out. */
parentPort?.on('message', ({ seed, runs, sabotage }: Share) => {
  parentPort?.postMessage(runBatch(seed, runs, (each) => optionsOf(each, sabotage)))
})
