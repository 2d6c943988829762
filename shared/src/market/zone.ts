import { AppError } from '../core/app-error.ts'

/** What a zone is: part of a region, near one city, or inside a carrier's network. */
export type ZoneKind = 'availability' | 'local' | 'wavelength'

export interface Zone {
  readonly name: string
  readonly region: string
  readonly kind: ZoneKind
}

/** `us-east-1`, `us-gov-west-1`, `cn-northwest-1`, `eusc-de-east-1`. */
const REGION = '[a-z]{2,4}(?:-[a-z]+){1,2}-[1-9][0-9]?'
/** `a`; `-lax-1a` for a local zone; `-wl1-bos-wlz-1` for a Wavelength zone. */
const PLACE = '[a-z]|-[a-z]{3}-[1-9][0-9]?[a-z]|-wl[1-9][0-9]?-[a-z]{3}-wlz-[1-9][0-9]?'

/** The syntax of a zone's name, without anchors or groups, for expressions that hold one. */
export const ZONE_PATTERN = `${REGION}(?:${PLACE})`

const REGION_ONLY = new RegExp(`^${REGION}$`)
const ZONE = new RegExp(`^(${REGION})(${PLACE})$`)

/** The parts of an availability zone's name, or undefined when it is not written like one. */
export function parseZone(name: string): Zone | undefined {
  const match = ZONE.exec(name)
  if (!match?.[1] || !match[2]) return undefined
  const kind = match[2].includes('-wlz-') ? 'wavelength' : match[2].startsWith('-') ? 'local' : 'availability'
  return { name, region: match[1], kind }
}

export const isRegion = (name: string): boolean => REGION_ONLY.test(name)

export const isZone = (name: string): boolean => ZONE.test(name)

/** A zone under both of its names: the name differs from account to account, the id does not. */
export interface ZoneName {
  readonly name: string
  /** `use1-az1`, `usw2-lax1-az1`, `use1-wl1-bos-wlz1`. */
  readonly id: string
}

/** The zones of one account. */
export interface ZoneNames {
  idOf(name: string): string | undefined
  nameOf(id: string): string | undefined
}

const ZONE_ID =
  /^([a-z]{2,6}[1-9][0-9]?)-(?:[a-z]{3}[1-9][0-9]?-)?(?:az|wl[1-9][0-9]?-[a-z]{3}-wlz)[1-9][0-9]?$/
const ID_PREFIX = /^(us|eu|ap|ca|sa|af|me|il|mx|cn)(g?)(ne|nw|se|sw|n|s|e|w|c)([1-9][0-9]?)$/

const directions: Readonly<Record<string, string>> = {
  n: 'north',
  s: 'south',
  e: 'east',
  w: 'west',
  c: 'central',
  ne: 'northeast',
  nw: 'northwest',
  se: 'southeast',
  sw: 'southwest',
}

export const isZoneId = (id: string): boolean => ZONE_ID.test(id)

/** `aps1-az1` → `ap-south-1`. undefined when it is no zone id, or of a region whose abbreviation follows no rule we know. */
export function regionOfZoneId(id: string): string | undefined {
  const match = ID_PREFIX.exec(ZONE_ID.exec(id)?.[1] ?? '')
  if (!match?.[1] || !match[3] || !match[4]) return undefined
  return [match[1], ...(match[2] ? ['gov'] : []), directions[match[3]], match[4]].join('-')
}

/**
 * Zones by either name. Which id a name has cannot be worked out: it comes from DescribeAvailabilityZones. Every name has one
 * id and every id one name, and both are of the same region; the same pair may come twice.
 * @throws AppError `input_invalid` with each pair that breaks this
 */
export function zoneNames(zones: Iterable<ZoneName>): ZoneNames {
  const ids = new Map<string, string>()
  const names = new Map<string, string>()
  const errors: { pointer: string; message: string }[] = []
  let index = 0
  for (const zone of zones) {
    const message = problemOf(zone, ids.get(zone.name), names.get(zone.id))
    if (message) errors.push({ pointer: `/${index}`, message })
    else {
      ids.set(zone.name, zone.id)
      names.set(zone.id, zone.name)
    }
    index++
  }
  if (errors.length > 0)
    throw new AppError('input_invalid', `zone names and ids do not match: ${errors[0]?.message}`, {
      hint: 'Take both from one account: aws ec2 describe-availability-zones --all-availability-zones.',
      errors,
    })
  return { idOf: (name) => ids.get(name), nameOf: (id) => names.get(id) }
}

function problemOf(
  { name, id }: ZoneName,
  otherId: string | undefined,
  otherName: string | undefined,
): string | undefined {
  const zone = parseZone(name)
  if (!zone) return `"${name.slice(0, 40)}" is not a zone such as us-east-1a`
  if (!isZoneId(id)) return `"${id.slice(0, 40)}" is not a zone id such as use1-az1`
  if (otherId !== undefined && otherId !== id) return `${name} is both ${otherId} and ${id}`
  if (otherName !== undefined && otherName !== name) return `${id} is both ${otherName} and ${name}`
  const region = regionOfZoneId(id)
  if (region !== undefined && region !== zone.region)
    return `${id} is in ${region}, ${name} in ${zone.region}`
  return undefined
}
