import { millis } from '@understudy/shared/core/time'
import { actuatorOf, defaultInstanceConfig } from '@understudy/shared/pipeline/instance-config'
import { createVirtualTime, type VirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createAccounts } from './accounts.ts'
import { createInstanceConfigs, type InstanceConfigs } from './instance-configs.ts'

describe.each(dialects)('configuration of instances on %s', (dialect) => {
  let database: OpenDatabase
  let configs: InstanceConfigs
  let time: VirtualTime
  beforeEach(async () => {
    database = await testDatabase(dialect)
    time = createVirtualTime()
    configs = createInstanceConfigs(database.db, time.clock)
  })
  afterEach(() => database.close())

  test('of an unknown target the defaults hold: the whole pipeline, and nothing is done', async () => {
    const config = await configs.get('i-0unknown')
    expect(config).toEqual(defaultInstanceConfig('i-0unknown'))
    expect(config).toMatchObject({ pipelineMode: 'CLUSTER_FULL', level: 'dry_run', updatedBy: null })
    expect(await configs.list()).toEqual([])
  })

  test('a change leaves the rest as it was, and says who made it and when', async () => {
    await configs.put('i-lab-test-001', { pipelineMode: 'SINGLE_LINEAR', modelId: 'model-002' }, 'ada')
    await time.advance(millis(5))
    const now = time.clock.now()
    const put = await configs.put('i-lab-test-001', { level: 'log', binPacking: false }, 'bob')
    expect(put).toEqual({
      ...defaultInstanceConfig('i-lab-test-001'),
      pipelineMode: 'SINGLE_LINEAR',
      modelId: 'model-002',
      level: 'log',
      binPacking: false,
      updatedAt: now,
      updatedBy: 'bob',
    })
    expect(await configs.get('i-lab-test-001')).toEqual(put)
    expect(await configs.list()).toEqual([put])
    expect(await configs.put('i-lab-test-001', { modelId: null }, 'bob')).toMatchObject({
      modelId: null,
      pipelineMode: 'SINGLE_LINEAR',
    })
  })

  test('what is said of an instance holds for its agent, and for the instance that takes over', async () => {
    const { db } = database
    await configs.put('i-0first', { level: 'none' }, 'ada')
    await addAgent(db, { id: 'shop' })
    await addInstance(db, { id: 'i-0first', agent_id: 'shop', pool_id: 'c5.large@ap-south-1a' })
    await addInstance(db, { id: 'i-0second', agent_id: 'shop', pool_id: 'm5.large@ap-south-1b' })
    // Said before it had joined: it holds for that instance until something is said of its agent.
    expect(await configs.get('i-0first')).toMatchObject({ id: 'shop', level: 'none' })
    await configs.put('i-0first', { rightSizing: false }, 'ada')
    for (const id of ['i-0first', 'i-0second', 'shop'])
      expect(await configs.get(id)).toMatchObject({ id: 'shop', level: 'none', rightSizing: false })
  })

  test('changes at the same moment are all made', async () => {
    const changes = [
      { binPacking: false },
      { rightSizing: false },
      { familyStress: false },
      { enabled: false },
    ]
    await Promise.all(changes.map((change) => configs.put('shop', change, 'ada')))
    expect(await configs.get('shop')).toMatchObject(Object.assign({}, ...changes))
  })

  test('the Lab acts only in an account for experiments, whichever is said first', async () => {
    const lab = { pipelineMode: 'SINGLE_LINEAR', level: 'live' } as const
    await expect(configs.put('shop', lab, 'ada')).rejects.toMatchObject({
      code: 'conflict',
      hint: expect.stringContaining('LAB_INTERNAL'),
    })
    await configs.put('shop', { level: 'live' }, 'ada')
    await expect(configs.put('shop', { modelId: 'model-002' }, 'ada')).rejects.toMatchObject({
      code: 'conflict',
    })
    await configs.put('shop', { ...lab, accountEnvironment: 'LAB_INTERNAL' }, 'ada')
    await expect(configs.put('shop', { accountEnvironment: 'PRODUCTION' }, 'ada')).rejects.toMatchObject({
      code: 'conflict',
    })
    expect(await configs.get('shop')).toMatchObject({ ...lab, accountEnvironment: 'LAB_INTERNAL' })
    await expect(configs.put('no such id', {}, 'ada')).rejects.toMatchObject({ code: 'input_invalid' })
  })

  test('what is said of an account holds for all that runs in it, also for what was said before', async () => {
    const { db } = database
    const accounts = createAccounts(db, time.clock)
    await addAgent(db, { id: 'cart', instance_id: 'i-0cart' })
    const pool_id = 'c5.large@ap-south-1a'
    await addInstance(db, { id: 'i-0cart', agent_id: 'cart', pool_id, account_id: '123456789012' })
    await addInstance(db, { id: 'i-0gone', agent_id: 'cart', pool_id, account_id: '2', terminated_at: 5 })
    const lab = { pipelineMode: 'SINGLE_LINEAR', level: 'live' } as const
    await configs.put('cart', { ...lab, accountEnvironment: 'LAB_INTERNAL' }, 'ada')
    expect(await accounts.list()).toMatchObject([
      { account_id: '123456789012', environment_type: null, instances: 1, updated_at: null },
    ])

    expect(await accounts.put('123456789012', { environment_type: 'PRODUCTION' }, 'ada')).toBeUndefined()
    const held = { ...lab, level: 'dry_run', accountEnvironment: 'PRODUCTION' }
    for (const id of ['cart', 'i-0cart']) expect(await configs.get(id)).toMatchObject({ ...held, id: 'cart' })
    expect((await configs.list()).find(({ id }) => id === 'cart')).toMatchObject(held)
    await expect(configs.put('cart', { level: 'live' }, 'ada')).rejects.toThrow('account of PRODUCTION')
    await expect(configs.put('i-0cart', { accountEnvironment: 'LAB_INTERNAL' }, 'ada')).rejects.toThrow(
      'cart runs in the account 123456789012, which is PRODUCTION',
    )
    // Nobody has said anything of the account of this one.
    await configs.put('shop', { ...lab, accountEnvironment: 'LAB_INTERNAL' }, 'ada')

    const change = { name: 'trials', environment_type: 'LAB_INTERNAL' } as const
    expect(await accounts.put('123456789012', change, 'bob')).toMatchObject({
      environment_type: 'PRODUCTION',
    })
    await configs.put('cart', { level: 'live' }, 'ada')
    expect(await configs.get('cart')).toMatchObject({ ...lab, accountEnvironment: 'LAB_INTERNAL' })
    expect(await accounts.list()).toMatchObject([{ name: 'trials', updated_by: 'bob' }])
  })

  test('who acts follows from the mode, unless somebody is named', () => {
    const config = defaultInstanceConfig('shop')
    expect(actuatorOf(config)).toBe('plan')
    expect(actuatorOf({ ...config, pipelineMode: 'SINGLE_LINEAR' })).toBe('agent')
    expect(actuatorOf({ ...config, actuator: 'log' })).toBe('log')
  })
})
