import { existsSync, readFileSync } from 'node:fs'

export interface Overlap {
  readonly agent: string
  readonly first: string
  readonly second: string
}

/**
 * Whether two workload processes of one agent ever ran at the same time, by the stamps that they left in one file in
 * the order in which they ran: once another process has stamped, the one before must never stamp again.
 */
export function findOverlaps(stamps: string): readonly Overlap[] {
  const current = new Map<string, string>()
  const past = new Map<string, Set<string>>()
  const overlaps: Overlap[] = []
  for (const line of stamps.split('\n')) {
    const [agent, epoch, instance, pid] = line.split(' ')
    if (!agent || !epoch || !instance || !pid) continue
    const process = `${instance}/${pid} at epoch ${epoch}`
    const running = current.get(agent)
    if (running === process) continue
    const ended = past.get(agent) ?? new Set()
    past.set(agent, ended)
    if (ended.has(process)) overlaps.push({ agent, first: running ?? '', second: process })
    if (running) ended.add(running)
    current.set(agent, process)
  }
  return overlaps
}

export const readWitness = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '')
