import type { AgentId } from '@understudy/shared/core/ids'
import type { AgentConfig } from '../config/options.ts'
import type { Enrolment } from './enrolment.ts'

/** The agent's link, or the socket of its voter; `http` becomes `ws`, `https` becomes `wss`. */
export function socketUrl(coordinatorUrl: string, agent: AgentId, socket: 'link' | 'voter'): string {
  const url = new URL(coordinatorUrl)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/api/agents/${agent}/${socket}`
  return url.href
}

/** Where replicas are told to dial: what the operator says, else the instance's private address. */
export function advertised(
  config: AgentConfig,
  enrolment: Enrolment,
  { port, voterPort }: { port: number; voterPort: number },
): { host: string; port: number; voterPort: number } | null {
  if (config.replication_advertise) {
    const [host, replication, voter] = parseAdvertised(config.replication_advertise)
    return { host, port: replication ?? port, voterPort: voter ?? voterPort }
  }
  return enrolment.privateIp ? { host: enrolment.privateIp, port, voterPort } : null
}

/** `host`, `host:port` or `host:port:voter-port`; an IPv6 address has at most one port behind it. */
function parseAdvertised(
  text: string,
): [host: string, port: number | undefined, voterPort: number | undefined] {
  const match = /^([^:]*)(?::(\d+))?(?::(\d+))?$/.exec(text) ?? /^(.*?)(?::(\d+))?$/.exec(text)
  const [, host = text, port, voterPort] = match ?? []
  return [host, port ? Number(port) : undefined, voterPort ? Number(voterPort) : undefined]
}
