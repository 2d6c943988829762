import type { Interval } from '@understudy/shared/market/interval'
import type { DatabasePlace } from '../../coordinator/src/storage/database.ts'

/** What the benchmark has done in processes of their own (market-child.ts), each with its answer. */
export interface Tasks {
  /** `coordinator import prices`. */
  readonly import: {
    readonly ask: { readonly file: string }
    readonly answer: Cost & ImportCounts
  }
  /** Samples through the whole of ingest: checked, audited, settled. */
  readonly ingest: {
    readonly ask: {
      readonly rows: number
      readonly batch: number
      readonly pools: number
      /** Pools of one submission. */
      readonly width: number
      readonly seed: number
    }
    readonly answer: Cost & {
      readonly sent: number
      readonly clean: number
      /** Rows of the first submission, and how many of them were known when it came again. */
      readonly first: number
      readonly repeated: number
    }
  }
  /** Adds pools with samples and takes away what was filled before. */
  readonly load: {
    readonly ask: { readonly source: Source; readonly range: Interval; readonly lost: number }
    readonly answer: Cost & { readonly rows: number; readonly lacking: number }
  }
  readonly scan: {
    readonly ask: { readonly range: Interval }
    readonly answer: Cost & ScanCounts
  }
  /** A series of the whole range for one pool after the other, decimated. */
  readonly read: {
    readonly ask: { readonly range: Interval; readonly points: number; readonly rounds: number }
    readonly answer: Cost & { readonly millis: readonly number[]; readonly longest: number }
  }
  /** Every price that another has written to a file, `pool,at,price`, against what is interpolated. */
  readonly compare: {
    readonly ask: { readonly file: string; readonly range: Interval }
    readonly answer: { readonly same: number; readonly different: number; readonly example: string | null }
  }
}

/** Samples that are made up, or those that a database with imported history would have had. */
export type Source =
  | { readonly made: { readonly from: number; readonly to: number; readonly seed: number } }
  | { readonly history: DatabasePlace; readonly most: number; readonly seed: number }

/** Of what was measured, without the start of the process. */
export interface Cost {
  readonly seconds: number
  /** Of the process; PostgreSQL's own come from its processes. */
  readonly cpuSeconds: number
  /** The process's highest, from its start to its end. */
  readonly peakRssMib: number
}

export interface ImportCounts {
  readonly rows: number
  readonly pools: number
  readonly refused: number
  readonly from: number | null
  readonly to: number | null
}

export interface ScanCounts {
  readonly pools: number
  readonly gaps: number
  readonly filled: number
  readonly rows: number
  readonly empty: number
  readonly open: number
}

export type TaskName = keyof Tasks
export type Order<N extends TaskName = TaskName> = {
  readonly task: N
  readonly place: DatabasePlace
  readonly ask: Tasks[N]['ask']
}
