import type { Certificate } from '@understudy/shared/failover/certificate'
import type { certificateSchema } from '@understudy/shared/protocol/voter-messages'
import type { z } from 'zod'

/** As the wire schema has it. */
export const toWire = (certificate: Certificate): z.output<typeof certificateSchema> => ({
  ...certificate,
  votes: [...certificate.votes],
})
