import { resolveOptions } from '@understudy/shared/core/options'
import { expect, test } from 'vitest'
import { coordinatorOptions } from './options.ts'
import { settingsView } from './settings-view.ts'

const viewOf = (env: Record<string, string>, file: Record<string, unknown> = {}, flags = {}) => {
  const { values, origins } = resolveOptions(coordinatorOptions, { flags, file, env, readSecret: () => '' })
  return settingsView(coordinatorOptions, values, origins)
}
const named = (name: string, ...from: Parameters<typeof viewOf>) =>
  viewOf(...from).find((each) => each.name === name)

test('each setting has its value and where it comes from', () => {
  expect(named('api_port', {})).toMatchObject({
    value: '8000',
    origin: 'default',
    is_set: true,
    env: 'API_PORT',
  })
  expect(named('api_port', { API_PORT: '81' })).toMatchObject({ value: '81', origin: 'environment' })
  expect(named('api_port', {}, { api_port: 82 })).toMatchObject({ value: '82', origin: 'file' })
  expect(named('api_port', { API_PORT: '81' }, {}, { api_port: '83' })).toMatchObject({
    value: '83',
    origin: 'flag',
  })
  expect(named('aws_region', { AWS_REGION: 'us-east-1,eu-west-1' })?.value).toBe('us-east-1, eu-west-1')
  expect(named('public_url', {})).toMatchObject({ value: null, is_set: false })
  expect(viewOf({}).map(({ name }) => name)).toEqual(Object.keys(coordinatorOptions))
})

test('no secret is in it, nor a password in an address', () => {
  const url = 'postgres://me:hunter2@db.example/prices'
  expect(named('database_url', { DATABASE_URL: url })).toMatchObject({
    ...{ value: null, origin: 'environment', secret: true, is_set: true },
  })
  const all = viewOf({
    DATABASE_URL: url,
    DB_PASSWORD: 'hunter2',
    UNDERSTUDY_PUBLIC_URL: 'https://me:hunter2@understudy.example',
    UNDERSTUDY_MODEL_STORE_ENDPOINT: 'http://hunter2@localhost:9000/x',
  })
  expect(JSON.stringify(all)).not.toContain('hunter2')
  expect(all.find(({ name }) => name === 'public_url')?.value).toBe('https://…@understudy.example')
})
