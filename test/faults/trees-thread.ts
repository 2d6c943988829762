import { parentPort, workerData } from 'node:worker_threads'
import { compareTrees } from './trees.ts'

parentPort?.postMessage(compareTrees(...(workerData as Parameters<typeof compareTrees>)))
