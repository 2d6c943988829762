import { lookup as systemLookup } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { AppError } from '@understudy/shared/core/app-error'

/** This machine, its link, and the metadata services of the cloud: what no receiver should be, unless somebody says so. */
const local = new BlockList()
local.addSubnet('0.0.0.0', 8, 'ipv4')
local.addSubnet('127.0.0.0', 8, 'ipv4')
local.addSubnet('169.254.0.0', 16, 'ipv4')
local.addAddress('::', 'ipv6')
local.addAddress('::1', 'ipv6')
local.addSubnet('fe80::', 10, 'ipv6')
local.addAddress('fd00:ec2::254', 'ipv6')

/** An address that was looked up, or that stands in the place of a name. */
export const isLocalAddress = (address: string): boolean => {
  const family = isIP(address)
  return family !== 0 && local.check(address, family === 6 ? 'ipv6' : 'ipv4')
}

/** By its name or by its address, as far as that can be said without looking it up. `hostname` is that of a URL. */
export function isLocalHost(hostname: string): boolean {
  const host = hostname.replace(/^\[(.+)\]$/, '$1').replace(/\.$/, '')
  return isLocalAddress(host) || /(^|\.)localhost$/i.test(host)
}

/**
 * Looks a name up for a connection, and refuses it where any of its addresses is local: what is checked is what is connected to,
 * so that a name that changes its address between two questions gains nothing.
 */
export const guardedLookup = (lookup: typeof systemLookup = systemLookup): LookupFunction => {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, '', 0)
      const refused = addresses.find(({ address }) => isLocalAddress(address))
      const [first] = addresses
      if (refused || !first)
        return callback(
          new AppError(
            'forbidden',
            `${hostname} is ${refused?.address ?? 'nowhere'}: this machine or its link`,
          ),
          '',
          0,
        )
      if (options.all) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
}
