import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { environmentOf } from './environment.ts'

const directory = mkdtempSync(join(tmpdir(), 'understudy-environment-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function file(name: string, text: string): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

const KUBECONFIG = `apiVersion: v1
kind: Config
clusters: [{ name: shop, cluster: { server: 'https://10.0.0.1:6443' } }]
contexts: [{ name: shop, context: { cluster: shop, user: ada } }]
current-context: shop
users: [{ name: ada, user: { token: secret } }]
`

describe('what the coordinator takes itself for', () => {
  const of = (config: Partial<Parameters<typeof environmentOf>[0]>) =>
    environmentOf({ environment: undefined, prod: false, k8s_config_path: undefined, ...config })
  const valid = file('config', KUBECONFIG)

  test('is TEST where nobody says anything, and PROD with --prod or a kubeconfig', () => {
    expect([of({}), of({ prod: true }), of({ k8s_config_path: valid })]).toEqual(['TEST', 'PROD', 'PROD'])
  })

  test('is what ENV says, whatever else is there', () => {
    expect(of({ environment: 'TEST', prod: true, k8s_config_path: valid })).toBe('TEST')
    expect(of({ environment: 'PROD' })).toBe('PROD')
  })

  test('is not guessed from a file that is no kubeconfig, and what is in it is not shown', () => {
    const bad = [
      [join(directory, 'missing'), 'ENOENT'],
      [file('text', 'token: secret'), 'clusters'],
      [file('empty', ''), 'is no kubeconfig'],
      [
        file('lost', KUBECONFIG.replace('current-context: shop', 'current-context: other')),
        'none of the contexts',
      ],
    ] as const
    for (const [path, why] of bad)
      for (const environment of [undefined, 'TEST', 'PROD'] as const) {
        const check = () => of({ environment, k8s_config_path: path })
        expect(check).toThrow(why)
        expect(check).not.toThrow('secret')
      }
  })
})
