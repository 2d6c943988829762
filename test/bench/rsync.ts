import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuOfEndedChildren, type Memory, watchMemory } from './measure.ts'

/** What ours is compared with: Debian's rsync and lsyncd over an sshd that belongs to this run alone. */

const SSHD = '/usr/sbin/sshd'
const PROGRAMS = {
  rsync: '/usr/bin/rsync',
  lsyncd: '/usr/bin/lsyncd',
  sshd: SSHD,
  ssh: '/usr/bin/ssh',
} as const

/** Programs that are not there. */
export const missingPrograms = (): readonly string[] =>
  Object.entries(PROGRAMS)
    .filter(([, path]) => !existsSync(path))
    .map(([name]) => name)

export interface Rival {
  /** Resolves when rsync has ended; the other end is `bench:` and a path. */
  rsync(args: readonly string[], from: string, to: string): Promise<RivalCost>
  /** Over one connection that stays open, for many small runs. */
  rsyncAgain(args: readonly string[], from: string, to: string): Promise<void>
  /** Runs until the returned function is called. */
  lsyncd(from: string, to: string, directory: string): Promise<() => Promise<void>>
  close(): Promise<void>
}

export interface RivalCost {
  readonly seconds: number
  /** Of rsync and ssh on one side, sshd and rsync on the other. */
  readonly cpuSeconds: number
  readonly near: Memory
  readonly far: Memory
}

/** A private sshd: own key, own configuration, own authorized key, and a port on loopback only. */
export async function openRival(directory: string): Promise<Rival> {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const file = (name: string) => join(directory, name)
  for (const name of ['host', 'user'])
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'bench', '-f', file(name)])
  const port = await freePort()
  writeFileSync(file('sshd_config'), sshdConfig(port, directory))
  writeFileSync(file('ssh_config'), sshConfig(port, directory))
  const [type, key] = execFileSync('ssh-keygen', ['-y', '-f', file('host')], { encoding: 'utf8' }).split(' ')
  writeFileSync(file('known_hosts'), `[127.0.0.1]:${port} ${type} ${key}\n`)
  // Where sshd, as root, wants an empty directory of its own.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true })
  const sshd = spawn(SSHD, ['-D', '-E', file('sshd.log'), '-f', file('sshd_config')], { stdio: 'inherit' })
  const far = sshd.pid as number
  const shell = `ssh -F ${file('ssh_config')}`
  endWithUs(sshd)
  await untilItAnswers(file('ssh_config'), file('sshd.log'))

  return {
    async rsync(args, from, to) {
      const before = cpuOfEndedChildren('self') + cpuOfEndedChildren(far)
      const start = performance.now()
      const child = spawn('rsync', [...args, '-e', shell, `${from}/`, `bench:${to}/`], { stdio: 'inherit' })
      const memory = [watchMemory([child.pid as number]), watchMemory([far], { without: [far] })] as const
      const [code] = await once(child, 'exit')
      const seconds = (performance.now() - start) / 1000
      if (code !== 0) throw new Error(`rsync ${args.join(' ')} ended with ${code}`)
      // sshd waits for the processes of a connection a moment after the client has gone.
      await sleep(100)
      const cpuSeconds = cpuOfEndedChildren('self') + cpuOfEndedChildren(far) - before
      return { seconds, cpuSeconds, near: memory[0].stop(), far: memory[1].stop() }
    },
    async rsyncAgain(args, from, to) {
      const reuse = `${shell} -o ControlMaster=auto -o ControlPersist=5 -o ControlPath=${file('control')}`
      const child = spawn('rsync', [...args, '-e', reuse, `${from}/`, `bench:${to}/`], { stdio: 'inherit' })
      const [code] = await once(child, 'exit')
      // 24: a file has gone while it was read, which is no fault in a tree that changes.
      if (code !== 0 && code !== 24) throw new Error(`rsync ${args.join(' ')} ended with ${code}`)
    },
    async lsyncd(from, to, own) {
      const config = join(own, 'lsyncd.lua')
      writeFileSync(config, lsyncdConfig({ from, to, shell, log: join(own, 'lsyncd.log') }))
      const child = spawn('lsyncd', ['-nodaemon', config], { stdio: ['ignore', 'ignore', 'inherit'] })
      const gone = once(child, 'exit')
      endWithUs(child)
      return async () => {
        child.kill()
        await gone
      }
    },
    async close() {
      const gone = once(sshd, 'exit')
      sshd.kill()
      await gone
    },
  }
}

const sshdConfig = (port: number, directory: string) => `
Port ${port}
ListenAddress 127.0.0.1
HostKey ${directory}/host
AuthorizedKeysFile ${directory}/user.pub
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
`

const sshConfig = (port: number, directory: string) => `
Host bench
  HostName 127.0.0.1
  Port ${port}
  User ${userInfo().username}
  IdentityFile ${directory}/user
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile ${directory}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  BatchMode yes
  LogLevel ERROR
`

/** As lively as lsyncd can be: a delay of 1 s is its shortest, and Modify also sees files that stay open. */
const lsyncdConfig = (parts: { from: string; to: string; shell: string; log: string }) => `
settings { nodaemon = true, inotifyMode = "CloseWrite or Modify", logfile = "${parts.log}" }
sync {
  default.rsync, source = "${parts.from}", target = "bench:${parts.to}", delay = 1,
  rsync = { archive = true, inplace = true, _extra = { "--modify-window=-1" }, rsh = "${parts.shell} -o ControlMaster=auto -o ControlPersist=5 -o ControlPath=${parts.log}.ssh" }
}
`

/** Whatever ends the benchmark, short of a SIGKILL. */
const endWithUs = (child: ChildProcess): void => {
  const kill = () => child.kill()
  process.once('exit', kill)
  child.once('exit', () => process.off('exit', kill))
}

async function untilItAnswers(config: string, log: string): Promise<void> {
  const deadline = performance.now() + 5000
  for (;;) {
    const child = spawn('ssh', ['-F', config, 'bench', 'true'], { stdio: 'ignore' })
    const [code] = await once(child, 'exit')
    if (code === 0) return
    if (performance.now() > deadline)
      throw new Error(`the sshd of the benchmark does not let it in: see ${log}`)
    await sleep(100)
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('no free port')
  return address.port
}
