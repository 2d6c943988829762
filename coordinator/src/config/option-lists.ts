import { z } from 'zod'

/** `a,b`; in a file also a list. */
const commaList = (item: z.ZodString) =>
  z.preprocess(
    (value) =>
      typeof value === 'string'
        ? value
            .split(',')
            .map((part) => part.trim())
            .filter((part) => part !== '')
        : value,
    z.array(item),
  )

/** `us-east-1,ap-south-1`; in a file also a list. */
export const regionList = () =>
  commaList(z.string().regex(/^[a-z]{2,4}(-[a-z]+)+-\d+$/, { error: 'must be regions such as ap-south-1' }))

/** `m5.large,c5.large`; in a file also a list. */
export const instanceTypeList = () =>
  commaList(
    z.string().regex(/^[a-z0-9-]+\.[a-z0-9-]+$/, { error: 'must be instance types such as m5.large' }),
  )
