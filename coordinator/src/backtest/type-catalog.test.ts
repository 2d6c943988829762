import { expect, test } from 'vitest'
import { readTypeCatalog } from './type-catalog.ts'

const HEADING = 'region,instance_type,vcpu,memory_gib,ondemand_usd_per_hour'
const factsOf = (...rows: string[]) => readTypeCatalog([HEADING, ...rows].join('\n'))

test.each([
  ['c5.large', 'x86_64', 0],
  ['m7g.large', 'arm64', 0],
  ['a1.large', 'arm64', 0],
  ['im4gn.large', 'arm64', 0],
  ['g5.xlarge', 'x86_64', 1],
  ['g4dn.xlarge', 'x86_64', 1],
  ['g5g.xlarge', 'arm64', 1],
  ['inf2.xlarge', 'x86_64', 1],
])('%s is %s with %d accelerators', (type, arch, gpu) => {
  expect(factsOf(`sa-east-1,${type},4,16,0.1`)('sa-east-1', type)).toMatchObject({ arch, gpu, vcpu: 4 })
})

test('a row that makes no sense is left out, and columns that are missing are told', () => {
  expect(factsOf('sa-east-1,c5.large,two,4,0.1')('sa-east-1', 'c5.large')).toBeUndefined()
  expect(() => readTypeCatalog('region,instance_type\n')).toThrow('lacks columns')
})
