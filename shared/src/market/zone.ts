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

const ZONE = new RegExp(`^(${REGION})(${PLACE})$`)

/** The parts of an availability zone's name, or undefined when it is not written like one. */
export function parseZone(name: string): Zone | undefined {
  const match = ZONE.exec(name)
  if (!match?.[1] || !match[2]) return undefined
  const kind = match[2].includes('-wlz-') ? 'wavelength' : match[2].startsWith('-') ? 'local' : 'availability'
  return { name, region: match[1], kind }
}

export const isZone = (name: string): boolean => ZONE.test(name)
