import { Worker } from 'node:worker_threads'
import { type Batch, NO_RUNS, sumOf } from './batch.ts'
import type { Sabotage } from './options.ts'

/** Many schedules, on several threads. */

export interface Share {
  readonly seed: number
  readonly runs: number
  readonly sabotage: Sabotage | undefined
}

export interface Asked extends Share {
  readonly workers: number
  readonly onProgress?: ((sum: Batch) => void) | undefined
}

/** So many seeds are given to a thread at once. */
const SHARE = 200

/** Sums up `runs` schedules from `seed` on. Which thread ran which changes nothing. */
export async function runSchedules({ seed, runs, sabotage, workers, onProgress }: Asked): Promise<Batch> {
  const shares: Share[] = []
  for (let at = 0; at < runs; at += SHARE)
    shares.push({ seed: seed + at, runs: Math.min(SHARE, runs - at), sabotage })
  shares.reverse()
  let sum = NO_RUNS
  await Promise.all(
    Array.from({ length: Math.min(workers, shares.length) }, () =>
      work(shares, (batch) => {
        sum = sumOf(sum, batch)
        onProgress?.(sum)
      }),
    ),
  )
  return sum
}

/** One thread takes shares until none is left. */
function work(shares: Share[], onBatch: (batch: Batch) => void): Promise<void> {
  const thread = new Worker(new URL('./thread.ts', import.meta.url), { execArgv: [] })
  return new Promise((resolve, reject) => {
    const next = () => {
      const share = shares.pop()
      if (share) thread.postMessage(share)
      else void thread.terminate().then(() => resolve(), reject)
    }
    thread.on('error', reject)
    thread.on('message', (batch: Batch) => {
      onBatch(batch)
      next()
    })
    next()
  })
}
