import { describe, expect, test } from 'vitest'
import { configuredVersion } from './configured-version.ts'

const row = (id: string, name: string, version: string, holds_name = 1) => ({ id, name, version, holds_name })
const rows = [
  row('model-a', 'price-instability', '1.0.0'),
  row('model-b', 'price-instability', '1.2.0'),
  row('model-c', 'price-instability', '2.0.0'),
  row('model-d', 'other', '3.0.0'),
  row('model-e', 'other', '4.0.0', 0),
]

describe('the version that MODEL_ACTIVE_VERSION names', () => {
  test.each([
    ['model-e', 'model-e'],
    ['price-instability@1.2.0', 'model-b'],
    ['price-instability:v2', 'model-c'],
    ['other 3.0.0', 'model-d'],
    ['1.0.0', 'model-a'],
    ['v2', 'model-c'],
    ['3.0', 'model-d'],
  ])('%s is %s', (setting, id) => {
    expect(configuredVersion(rows, setting).id).toBe(id)
  })

  test('what means several, none, or a version that was refused is an error that names the setting', () => {
    expect(() => configuredVersion(rows, 'v1')).toThrow('price-instability@1.0.0, price-instability@1.2.0')
    expect(() => configuredVersion(rows, '4.0.0')).toThrow('no such model')
    expect(() => configuredVersion(rows, 'other@1.0.0')).toThrow('no such model')
    expect(() => configuredVersion([], 'v1')).toThrow('no such model')
  })
})
