import nh, { request } from 'node:http'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'

const s = setupServer(http.put('http://169.254.169.254/latest/api/token', () => HttpResponse.text('tok')))
s.listen({ onUnhandledRequest: 'error', onUnhandledFrame: 'error' })
for (const opts of [{ agent: false }, {}])
  for (const f of [request, nh.request])
    console.log(
      JSON.stringify(opts),
      f === nh.request,
      await new Promise((res) => {
        const r = f('http://169.254.169.254/latest/api/token', { method: 'PUT', ...opts }, (x) => {
          let b = ''
          x.on('data', (d) => (b += d))
          x.on('end', () => res(x.statusCode + ' ' + b.slice(0, 80)))
        })
        r.on('error', (e) => res('ERR ' + e.message))
        r.end()
      }),
    )
console.log(
  await new Promise((res) => {
    const r = request('http://169.254.169.254/other', (x) => {
      res(x.statusCode)
    })
    r.on('error', (e) => res('ERR ' + e.message))
    r.end()
  }),
)
