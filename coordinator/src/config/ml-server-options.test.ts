import { resolveOptions } from '@understudy/shared/core/options'
import { describe, expect, test } from 'vitest'
import { ignoredSettings } from './ml-server-options.ts'
import { coordinatorOptions } from './options.ts'

const configOf = (env: Record<string, string>) =>
  resolveOptions(coordinatorOptions, { flags: {}, file: {}, env, readSecret: () => '' }).values

describe('settings of the ML server', () => {
  test('address, gap filler and active version are honoured under its names', () => {
    expect(
      configOf({
        ML_SERVER_HOST: '0.0.0.0',
        ML_SERVER_PORT: '8001',
        MODEL_UPLOAD_DIR: '/app/models/uploaded',
        MODEL_ACTIVE_VERSION: 'v1',
        ALLOW_MODEL_TRAINING: 'false',
        GAP_FILLER_ENABLED: 'true',
        GAP_FILLER_AWS_REGION: 'us-east-1',
        GAP_FILLER_INSTANCE_TYPES: 'm5.large,m5.xlarge,c5.large',
        GAP_FILLER_REGIONS: 'us-east-1,us-west-2,eu-west-1',
        GAP_FILLER_HISTORIC_DAYS_MAX: '90',
        LOCAL_PREDICTION_STORE: 'database',
        DECISION_ENGINE_ACTIVE: 'spot_optimizer_v1',
      }),
    ).toMatchObject({
      api_host: '0.0.0.0',
      api_port: 8001,
      model_upload_dir: '/app/models/uploaded',
      model_active_version: 'v1',
      gap_filler_enabled: true,
      gap_filler_aws_region: ['us-east-1'],
      gap_filler_instance_types: ['m5.large', 'm5.xlarge', 'c5.large'],
      gap_filler_regions: ['us-east-1', 'us-west-2', 'eu-west-1'],
      gap_filler_historic_days_max: 90,
      decision_engine_active: 'spot_optimizer_v1',
    })
  })

  test.each([
    [{ ALLOW_MODEL_TRAINING: 'true' }, 'runs models and trains none'],
    [{ DECISION_ENGINE_ACTIVE: 'my_engine' }, 'must be spot_optimizer_v1'],
    [{ LOCAL_PREDICTION_STORE: 'redis' }, 'Redis is not used'],
    [{ RISK_MODEL_PATH: 'models/family_stress_model.pkl' }, 'convert it with zipmap=False'],
    [{ MAX_CRASH_PROBABILITY: '85' }, 'MAX_CRASH_PROBABILITY'],
    [{ MAX_HISTORIC_INTERRUPT_RATE: '-1' }, 'MAX_HISTORIC_INTERRUPT_RATE'],
    [{ CENTRAL_PLATFORM_URL: 'http://core-platform:8000' }, 'the coordinator is the central platform'],
    [{ GAP_FILLER_HISTORIC_DAYS_MAX: '365' }, 'a whole number from 1 to 90'],
    [{ UNDERSTUDY_MODEL_STORE: 'https://bucket' }, 's3://bucket/prefix'],
  ])('%j is refused with why', (env, why) => {
    expect(() => configOf(env as unknown as Record<string, string>)).toThrow(why)
  })

  test('a key of the central platform is refused and not shown', () => {
    const refusal = (() => {
      try {
        configOf({ CENTRAL_PLATFORM_API_KEY: 'hunter2' })
        return ''
      } catch (error) {
        return String(error)
      }
    })()
    expect(refusal).toContain('CENTRAL_PLATFORM_API_KEY')
    expect(refusal).not.toContain('hunter2')
  })

  test('workers and Redis are ignored, each with a sentence', () => {
    expect(ignoredSettings(configOf({ ML_SERVER_WORKERS: '4', REDIS_HOST: 'redis.internal' }))).toEqual([
      expect.stringContaining('ML_SERVER_WORKERS is ignored'),
      expect.stringContaining('REDIS_HOST is ignored'),
    ])
    expect(ignoredSettings(configOf({}))).toEqual([])
  })
})
