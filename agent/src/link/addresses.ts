import type { AgentId } from '@understudy/shared/core/ids'
import type { AgentConfig } from '../config/options.ts'
import type { Enrolment } from './enrolment.ts'

/** `http` becomes `ws`, `https` becomes `wss`. */
export function linkUrl(coordinatorUrl: string, agent: AgentId): string {
  const url = new URL(coordinatorUrl)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/api/agents/${agent}/link`
  return url.href
}

/** Where replicas are told to dial: what the operator says, else the instance's private address. */
export function advertised(
  config: AgentConfig,
  enrolment: Enrolment,
  port: number,
): { host: string; port: number } | null {
  if (config.replication_advertise) {
    const match = /^(.*?)(?::(\d+))?$/.exec(config.replication_advertise)
    return { host: match?.[1] ?? config.replication_advertise, port: match?.[2] ? Number(match[2]) : port }
  }
  return enrolment.privateIp ? { host: enrolment.privateIp, port } : null
}
