import { readdirSync, readFileSync } from 'node:fs'

/** The processes of one simulated instance, found in /proc as an administrator would. */

const read = (pid: number, name: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1')
  } catch {
    // It has ended meanwhile.
    return ''
  }
}

const stateOf = (pid: number): string | undefined => /^State:\s+(\w)/m.exec(read(pid, 'status'))?.[1]

/** A process that has ended and was not waited for does not live. */
export const isAlive = (pid: number): boolean => {
  const state = stateOf(pid)
  return state !== undefined && state !== 'Z' && state !== 'X'
}

export const isStopped = (pid: number): boolean => stateOf(pid) === 'T'

export const environmentOf = (pid: number): Readonly<Record<string, string>> =>
  Object.fromEntries(
    read(pid, 'environ')
      .split('\0')
      .filter((entry) => entry.includes('='))
      .map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
  )

export const commandOf = (pid: number): readonly string[] => read(pid, 'cmdline').split('\0').slice(0, -1)

/** Resident memory, MiB. */
export const residentMib = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(read(pid, 'status'))?.[1] ?? 0) / 1024

const everyProcess = (): readonly number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)

/** The coordinator of this database. */
export const coordinatorProcess = (database: string): number | undefined =>
  everyProcess().find(
    (pid) => read(pid, 'environ').includes(`UNDERSTUDY_DATABASE=${database}\0`) && isAlive(pid),
  )

function processesOf(instance: string, directory: string): readonly number[] {
  const mark = `\0SIMULATED_INSTANCE=${instance} ${directory}\0`
  return everyProcess().filter((pid) => `\0${read(pid, 'environ')}`.includes(mark) && isAlive(pid))
}

export const agentProcess = (instance: string, directory: string): number | undefined =>
  processesOf(instance, directory).find((pid) => {
    const command = commandOf(pid)
    return command.includes('run') && command.some((word) => word.endsWith('agent/src/main.ts'))
  })

/** The server itself, not the shells of its hooks. */
export const workloadProcesses = (instance: string, directory: string): readonly number[] =>
  processesOf(instance, directory).filter((pid) =>
    commandOf(pid).some((word) => word.endsWith('kv-server.ts')),
  )

/** Sends a signal; one that has ended needs none. */
export function send(pid: number, signal: NodeJS.Signals): void {
  // 0 would be this very group of processes.
  if (pid <= 0) return
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended already.
  }
}
