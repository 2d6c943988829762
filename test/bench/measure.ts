import { readdirSync, readFileSync } from 'node:fs'

/** What a run costs, as the kernel counts it. */

/** Bytes that have gone through an interface, headers included; on loopback each packet is counted once. */
export function parseInterfaceBytes(text: string, name: string): number {
  const line = text.split('\n').find((candidate) => candidate.trim().startsWith(`${name}:`))
  // Eight receive counters, then those of transmission: bytes is the first of each.
  const sent = line
    ?.slice(line.indexOf(':') + 1)
    .trim()
    .split(/\s+/)[8]
  if (sent === undefined || !/^\d+$/.test(sent)) throw new Error(`/proc/net/dev does not list ${name}`)
  return Number(sent)
}

export const loopbackBytes = (): number => parseInterfaceBytes(readFileSync('/proc/net/dev', 'utf8'), 'lo')

/**
 * CPU seconds of all children of a process that have ended and been waited for, and theirs (fields 16 and 17 of proc(5)
 * stat), in ticks of 10 ms.
 */
export function cpuOfEndedChildren(pid: number | 'self'): number {
  const fields = read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ') ?? []
  return (Number(fields[13]) + Number(fields[14])) / 100
}

/** CPU seconds of a process and of all its descendants, also of those that have ended (fields 14 to 17 of proc(5) stat). */
export const cpuOfTree = (root: number): number =>
  descendants(root)
    .map((pid) => read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ').slice(11, 15) ?? [])
    .reduce((all, ticks) => all + ticks.reduce((sum, tick) => sum + Number(tick), 0) / 100, 0)

/** A value of /proc/PID/status in MiB, undefined once the process has gone. */
function statusMib(pid: number, key: 'VmHWM' | 'RssAnon'): number | undefined {
  const kib = new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(read(`/proc/${pid}/status`))?.[1]
  return kib === undefined ? undefined : Number(kib) / 1024
}

export interface Memory {
  /** The sum of each process's own peak (VmHWM). */
  readonly rssMib: number
  /** The highest sum of what is no file's at one moment (RssAnon), looked at every 50 ms. */
  readonly anonMib: number
}

/** Watches processes and all their descendants until `stop`. */
export function watchMemory(
  roots: readonly number[],
  { without = [] }: { without?: readonly number[] } = {},
) {
  const peaks = new Map<number, number>()
  let anonMib = 0
  const look = () => {
    let sum = 0
    for (const pid of roots.flatMap(descendants)) {
      if (without.includes(pid)) continue
      const rss = statusMib(pid, 'VmHWM')
      if (rss !== undefined) peaks.set(pid, Math.max(rss, peaks.get(pid) ?? 0))
      sum += statusMib(pid, 'RssAnon') ?? 0
    }
    anonMib = Math.max(anonMib, sum)
  }
  look()
  const timer = setInterval(look, 50)
  return {
    stop(): Memory {
      clearInterval(timer)
      look()
      return { rssMib: [...peaks.values()].reduce((all, peak) => all + peak, 0), anonMib }
    },
  }
}

function descendants(pid: number): number[] {
  const children = threads(pid).flatMap((thread) =>
    read(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  )
  return [pid, ...children.flatMap(descendants)]
}

function threads(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
