import { describe, expect, it } from 'vitest'
import { readScope } from './scope.ts'

describe('for which prices a fill is', () => {
  it('nothing means what is set, or in use', () =>
    expect(readScope(' ', '')).toEqual({ ok: true, scope: {} }))

  it('takes names parted by commas, spaces and lines, each once', () =>
    expect(readScope('m5.large, C5.Large\nm5.large', 'us-east-1;us-gov-west-1')).toEqual({
      ok: true,
      scope: { instance_types: ['m5.large', 'c5.large'], regions: ['us-east-1', 'us-gov-west-1'] },
    }))

  it.each([
    ['m5', '', '“m5” is no instance type: one looks like c5.large.'],
    ['', 'us-east-1a', '“us-east-1a” is no region: one looks like us-east-1.'],
  ])('says what is wrong with %j and %j', (types, regions, why) =>
    expect(readScope(types, regions)).toEqual({ ok: false, why }),
  )
})
