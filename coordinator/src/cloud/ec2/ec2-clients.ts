import { EC2Client } from '@aws-sdk/client-ec2'

/** A client per region, made when it is first needed. */
export type Ec2Clients = (region: string) => EC2Client

export interface Ec2ClientOptions {
  /** In place of AWS's own, such as that of the simulated EC2. */
  readonly endpoint?: string | undefined
  readonly credentials?:
    | { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string }
    | undefined
}

/** Retries are the pacer's business, so that they share one budget and one rate. */
export function createEc2Clients({ endpoint, credentials }: Ec2ClientOptions = {}): Ec2Clients {
  const clients = new Map<string, EC2Client>()
  return (region) => {
    const known = clients.get(region)
    if (known) return known
    const client = new EC2Client({
      region,
      maxAttempts: 1,
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(credentials === undefined ? {} : { credentials }),
    })
    clients.set(region, client)
    return client
  }
}
