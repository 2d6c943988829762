import { flag, number, type OptionTable, wholeNumber } from '@understudy/shared/core/options'
import { z } from 'zod'
import { multiplierChoices } from '../interruptions/interruptions.ts'
import { instanceTypeList, regionList } from './option-lists.ts'

/** What concerns models: where they are kept, which of them counts at the start, and the prices that they need. */
export const modelOptions = {
  model_upload_dir: {
    schema: z.string().min(1).default('understudy-models'),
    env: 'MODEL_UPLOAD_DIR',
    value: '<directory>',
    doc: 'Where the files of models are kept, under their SHA-256; made when the first one comes',
  },
  model_store: {
    schema: z
      .string()
      .regex(/^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[\w!.*'()-]+)*\/?$/, {
        error: 'must be like s3://bucket/prefix',
      })
      .optional(),
    env: 'UNDERSTUDY_MODEL_STORE',
    value: '<s3://bucket/prefix>',
    doc: 'A bucket for the files of models in place of model_upload_dir, in which uploads then only arrive',
  },
  model_store_endpoint: {
    schema: z.url({ protocol: /^https?$/ }).optional(),
    env: 'UNDERSTUDY_MODEL_STORE_ENDPOINT',
    value: '<url>',
    doc: 'Address of an S3-compatible service with that bucket, if it is not AWS; the bucket is named in the path then',
  },
  model_store_region: {
    schema: z
      .string()
      .regex(/^[a-z0-9-]+$/)
      .optional(),
    env: 'UNDERSTUDY_MODEL_STORE_REGION',
    value: '<region>',
    doc: 'Region of that bucket; by default what the AWS SDK finds, us-east-1 at an endpoint of your own',
  },
  model_refresh: {
    schema: z.enum(['off', 'daily', 'weekly']).default('off'),
    env: 'MODEL_REFRESH',
    value: '<how often>',
    doc: 'How often the active model is read again, checked and given a new process, and the latest prices are fetched for it: off, daily or weekly',
  },
  prediction_retention: {
    schema: number(1, 3650).default(30),
    env: 'UNDERSTUDY_PREDICTION_RETENTION',
    value: '<days>',
    doc: 'How long predictions and their labels are kept, in days',
  },
  auto_rollback_on_drift: {
    schema: flag().default(false),
    env: 'UNDERSTUDY_AUTO_ROLLBACK_ON_DRIFT',
    doc: 'Whether the version of before takes over by itself when the active one drifts and that one, asked in the shadow, does better for certain; a process more while it is on',
  },
  interruption_multipliers: {
    schema: z.enum(multiplierChoices).default('age'),
    env: 'UNDERSTUDY_INTERRUPTION_MULTIPLIERS',
    value: '<which>',
    doc: 'What beside its pool moves the estimate of an interruption, learnt from own instances: none, age or age-and-hour',
  },
  default_model: {
    schema: flag().default(true),
    env: 'UNDERSTUDY_DEFAULT_MODEL',
    doc: 'Whether the model that comes with the coordinator is taken in and activated while there is no other',
  },
  risk_model_path: {
    schema: z
      .string()
      .min(1)
      .refine((path) => !/\.(pkl|joblib)$/.test(path), {
        error:
          'must be a folder with model.onnx and manifest.json: a pickle runs code when it is loaded; convert it with zipmap=False',
      })
      .optional(),
    env: 'RISK_MODEL_PATH',
    value: '<folder>',
    doc: 'The folder of a model (model.onnx and manifest.json) that is taken in and activated while there is no other, in place of the one that comes with the coordinator',
  },
  model_active_version: {
    schema: z
      .string()
      .min(1)
      .max(120)
      .regex(/^[\w.:@ -]+$/, { error: 'must be like 1.0.0, price-instability@1.0.0 or the id of a model' })
      .optional(),
    env: 'MODEL_ACTIVE_VERSION',
    value: '<version>',
    doc: 'The version that is activated at each start: 1.0.0, v1, price-instability@1.0.0 or its id; without it what was active last stays so',
  },
  allow_model_training: {
    schema: flag()
      .default(false)
      .refine((allowed) => !allowed, { error: 'must be false: the coordinator runs models and trains none' }),
    env: 'ALLOW_MODEL_TRAINING',
    doc: 'Only false is taken; models are trained elsewhere and uploaded',
  },
  gap_filler_instance_types: {
    schema: instanceTypeList().default([]),
    env: 'GAP_FILLER_INSTANCE_TYPES',
    value: '<types>',
    doc: 'Instance types whose prices since its training a model needs, separated by commas; by default those in use',
  },
  gap_filler_regions: {
    schema: regionList().default([]),
    env: 'GAP_FILLER_REGIONS',
    value: '<regions>',
    doc: 'The regions of those prices, separated by commas; by default aws_region',
  },
  gap_filler_aws_region: {
    schema: regionList().default([]),
    env: 'GAP_FILLER_AWS_REGION',
    value: '<region>',
    doc: 'The same as gap_filler_regions where that is not set, under the name of the ML server',
  },
  gap_filler_historic_days_max: {
    schema: wholeNumber(1, 90).default(90),
    env: 'GAP_FILLER_HISTORIC_DAYS_MAX',
    value: '<days>',
    doc: 'How far back prices are fetched for a model, in days; EC2 keeps 90',
  },
} as const satisfies OptionTable
