/**
 * How the daemon is started on a machine, as in deploy/systemd/understudy-agent.service: a small heap that is compacted
 * early, and an allocator that gives memory back. A test holds the two together.
 */
export const AGENT_NODE_FLAGS = [
  '--max-semi-space-size=1',
  '--max-old-space-size=256',
  '--optimize-for-size',
] as const

export const AGENT_MALLOC = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '65536',
  MALLOC_TRIM_THRESHOLD_: '131072',
} as const
