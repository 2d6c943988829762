import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** What a process costs while it has nothing to do. */
export interface Idle {
  readonly rssMib: number
  /** Of one core, 0 to 100 for each. */
  readonly cpuPercent: number
}

/** Every process whose command line holds all of `words`. */
export const findProcesses = (...words: readonly string[]): readonly number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const line = read(`/proc/${pid}/cmdline`)
      return words.every((word) => line.includes(word))
    })

/** Its words; none once it has ended. */
export const commandLineOf = (pid: number): readonly string[] =>
  read(`/proc/${pid}/cmdline`).split('\0').filter(Boolean)

/** Looks at processes for a while; the memory is that at the end. */
export async function watchIdle(pids: readonly number[], millis: number): Promise<readonly Idle[]> {
  const before = pids.map(cpuTicks)
  const start = performance.now()
  await sleep(millis)
  const elapsed = (performance.now() - start) / 1000
  return pids.map((pid, index) => ({
    rssMib: Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1]) / 1024,
    // Ticks are hundredths of a second on every Linux that Node runs on (USER_HZ).
    cpuPercent: (cpuTicks(pid) - (before[index] ?? Number.NaN)) / elapsed,
  }))
}

/** Processor time that they have taken since they began; what has ended counts no more. */
export const processorMillis = (pids: readonly number[]): number =>
  pids.reduce((sum, pid) => sum + (cpuTicks(pid) || 0) * 10, 0)

/** User and system time: fields 14 and 15 of proc(5) stat, counted after the name, which may hold spaces. */
function cpuTicks(pid: number): number {
  const fields = read(`/proc/${pid}/stat`).split(') ')[1]?.split(' ') ?? []
  return Number(fields[11]) + Number(fields[12])
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
