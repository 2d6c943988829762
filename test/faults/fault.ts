import type { Scene } from './scene.ts'

/** One row of the fault table in docs/failover.md. */
export interface Fault {
  /** Its number in the design's table; variants of one fault share it. */
  readonly id: number
  readonly title: string
  /** How it is brought about, in words. */
  readonly inject: string
  /** What has to be seen, in one sentence. */
  readonly expected: string
  /** Takes long, or a quick one shows much the same: only with FAULTS=all, and in `pnpm faults`. */
  readonly slow?: boolean
  /** Touches what all agents share: nothing may be under way with the others. */
  readonly alone?: boolean
  /** Where it fails it harms every fault after it. */
  readonly last?: boolean
  /** Cannot hold yet, and why. It is run and shown, and fails nothing. */
  readonly pending?: string
  /** What may be missing afterwards: nothing, or what the incident's record says. */
  readonly loss?: 'none' | 'reported'
  /** Where processes cannot show it: why, and which test does. */
  readonly proof?: Proof
  /** Checks with the scene what it has to, and says what was measured. */
  readonly run?: (scene: Scene) => Promise<string>
}

export interface Proof {
  readonly why: string
  /** Each a file and the name of a test in it. */
  readonly tests: readonly (readonly [file: string, name: string])[]
}

export interface Row {
  readonly id: number
  readonly fault: string
  readonly inject: string
  readonly expected: string
  readonly seen: string
  /** Longest time without an answer to the client, of those that were measured from the fault on. */
  readonly time_ms: number | null
  readonly writes_acked: number | null
  readonly writes_lost: number | null
  /** `skipped`: the run was interrupted before its turn. */
  readonly outcome: 'ok' | 'failed' | 'pending' | 'elsewhere' | 'skipped'
}
