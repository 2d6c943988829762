import type { GapScope } from '../../api/model-calls.ts'

const TYPE = /^[a-z0-9-]+\.[a-z0-9-]+$/
const REGION = /^[a-z]{2,4}(-[a-z]+){1,2}-[1-9][0-9]?$/

const wordsOf = (text: string): readonly string[] => [
  ...new Set(
    text
      .toLowerCase()
      .split(/[\s,;]+/)
      .filter((word) => word !== ''),
  ),
]

export type ReadScope =
  | { readonly ok: true; readonly scope: GapScope }
  | { readonly ok: false; readonly why: string }

/** What somebody has typed as types and regions; nothing means what is set, or in use. */
export function readScope(types: string, regions: string): ReadScope {
  const [ownTypes, ownRegions] = [wordsOf(types), wordsOf(regions)]
  const wrongType = ownTypes.find((word) => !TYPE.test(word))
  if (wrongType !== undefined)
    return { ok: false, why: `“${wrongType}” is no instance type: one looks like c5.large.` }
  const wrongRegion = ownRegions.find((word) => !REGION.test(word))
  if (wrongRegion !== undefined)
    return { ok: false, why: `“${wrongRegion}” is no region: one looks like us-east-1.` }
  return {
    ok: true,
    scope: {
      ...(ownTypes.length > 0 ? { instance_types: ownTypes } : {}),
      ...(ownRegions.length > 0 ? { regions: ownRegions } : {}),
    },
  }
}
