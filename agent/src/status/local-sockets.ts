import type { Server } from 'node:http'
import type { Clock } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import { commitRoutes, createCommit, serveCommit } from '../commit/commit.ts'
import type { DataDirectory } from '../config/data-directory.ts'
import type { AgentConfig } from '../config/options.ts'
import type { Replication } from '../replication/replication.ts'
import type { Role } from '../role/role.ts'
import { type AgentSnapshots, snapshotRoutes } from '../snapshot/snapshot.ts'
import type { Voter } from '../voter/voter.ts'
import { type AgentStatus, serveStatus } from './status-socket.ts'

/**
 * The unix sockets of the agent: what is asked of it on its own machine.
 * @throws AppError `config_invalid`
 */
export function openLocalSockets(parts: {
  readonly config: AgentConfig
  readonly data: DataDirectory
  readonly status: () => AgentStatus
  readonly replication: Replication
  readonly voter: Voter
  readonly role: Role
  readonly snapshots: AgentSnapshots
  readonly clock: Clock
  readonly log: Logger
}): Promise<Server[]> {
  const { config, data, status, replication, voter, role, snapshots, clock, log } = parts
  const commit = createCommit({
    replication: {
      commit: (budget) => replication.commit(budget, () => voter.state.keepers),
      lags: () => replication.lags(),
    },
    isPrimary: () => role.member.role.kind === 'primary' || role.member.role.kind === 'handing-over',
    clock,
  })
  const routes = { ...commitRoutes(commit), ...snapshotRoutes(snapshots.service) }
  return Promise.all([
    serveStatus(data.statusSocket, status, routes, log),
    ...(config.commit_socket === undefined ? [] : [serveCommit(config.commit_socket, commit, log)]),
  ])
}
