import type { AgentId, InstanceId } from '@understudy/shared/core/ids'

/** Where an instance's programs find themselves; what an image is given to make its files from. */
export interface MachineFacts {
  readonly instanceId: InstanceId
  readonly agentId: AgentId
  /** The disk of the instance. */
  readonly directory: string
  readonly imdsEndpoint: string
  readonly ec2Endpoint: string
  /** Where the address leads, once this is primary. */
  readonly servicePort: number
  readonly replicationPort: number
  readonly voterPort: number
  readonly coordinatorUrl: string
  readonly joinToken: string
}

/** What a machine image does at boot: writes its files, then runs one program. */
export type MachineImage = (facts: MachineFacts) => {
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
}
