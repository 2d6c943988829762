import { toUsd } from '@understudy/shared/core/money'
import type { Ec2Refusal } from './ec2-refusal.ts'
import type { HistoryPage } from './spot-price-history.ts'

/** What EC2 answers, as XML. */

const HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
const REQUEST_ID = '59dbff89-35bd-4eac-99ed-be587example'

export const errorXml = ({ code, message }: Ec2Refusal): string =>
  `${HEAD}<Response><Errors><Error><Code>${escaped(code)}</Code><Message>${escaped(message)}</Message></Error></Errors><RequestID>${REQUEST_ID}</RequestID></Response>`

export const historyXml = ({ rows, nextToken }: HistoryPage): string =>
  `${HEAD}<DescribeSpotPriceHistoryResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>${REQUEST_ID}</requestId>
    <spotPriceHistorySet>
${rows
  .map(
    ({ pool, zoneId, product, price, at }) => `        <item>
            <instanceType>${pool.instanceType}</instanceType>
            <productDescription>${product}</productDescription>
            <spotPrice>${toUsd(price).toFixed(6)}</spotPrice>
            <timestamp>${new Date(at).toISOString()}</timestamp>
            <availabilityZone>${pool.availabilityZone}</availabilityZone>
            <availabilityZoneId>${zoneId}</availabilityZoneId>
        </item>
`,
  )
  .join('')}    </spotPriceHistorySet>
    ${nextToken === undefined ? '<nextToken/>' : `<nextToken>${escaped(nextToken)}</nextToken>`}
</DescribeSpotPriceHistoryResponse>`

const escaped = (text: string): string =>
  text.replace(/[&<>]/g, (letter) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[letter] ?? letter)
