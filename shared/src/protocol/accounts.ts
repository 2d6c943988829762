import { z } from 'zod'
import { accountEnvironments } from '../pipeline/instance-config.ts'
import { countSchema, timeSchema } from './primitives.ts'

/** AWS accounts, and what each is for. */

export const accountIdSchema = z.string().regex(/^\d{12}$/, 'an account id has twelve digits')

export const accountSchema = z
  .object({
    account_id: accountIdSchema,
    name: z.string(),
    /** The Lab acts in LAB_INTERNAL only. Null: nobody has said it, and `account_environment` of each target counts. */
    environment_type: z.enum(accountEnvironments).nullable(),
    /** Instances of it that run for an agent here. */
    instances: countSchema,
    updated_at: timeSchema.nullable(),
    updated_by: z.string().nullable(),
  })
  .meta({ id: 'Account' })
export type AccountView = z.infer<typeof accountSchema>

export const accountListSchema = z.object({ items: z.array(accountSchema) }).meta({ id: 'Accounts' })

export const accountChangeSchema = z
  .strictObject({
    /** What it is called; stays as it was if left out. */
    name: z.string().trim().min(1).max(100).optional(),
    environment_type: z.enum(accountEnvironments),
  })
  .meta({ id: 'AccountChange' })
