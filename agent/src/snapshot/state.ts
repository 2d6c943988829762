import type { Logger } from 'pino'
import type { Workload } from '../config/workload.ts'
import {
  createSelection,
  createStateRoots,
  openXattrs,
  type StateRoots,
  type Xattrs,
} from '../replication/replication.ts'

/** What a snapshot is of, and is put back into: the state directories, and what of them is replicated. */
export interface State {
  readonly directories: readonly string[]
  readonly roots: StateRoots
  readonly xattrs: Xattrs
}

/** @throws AppError `config_invalid` for a pattern that is none */
export async function openState(
  workload: Pick<Workload, 'state'> & Partial<Pick<Workload, 'include' | 'exclude' | 'priority'>>,
  log: Logger,
): Promise<State> {
  const { state: directories, include = [], exclude = [], priority = [] } = workload
  const selection = createSelection({ include, exclude, priority })
  return { directories, roots: createStateRoots(directories, selection), xattrs: await openXattrs(log) }
}
