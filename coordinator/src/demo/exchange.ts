/**
 * One call and the whole text of its answer. Its limit ends with it: who asks many times a second would have thousands of them
 * waiting. Its connection does too: one that was kept may have been closed while this process stood still.
 *
 * @throws Error when there is no answer within `limit` milliseconds
 */
export async function exchange(
  url: string,
  request: Omit<RequestInit, 'headers' | 'signal'> & { readonly headers: Readonly<Record<string, string>> },
  limit: number,
): Promise<{ readonly status: number; readonly ok: boolean; readonly text: string }> {
  const ending = new AbortController()
  const late = setTimeout(
    () => ending.abort(new Error(`${request.method} ${url}: no answer within ${limit / 1000} s`)),
    limit,
  )
  try {
    const headers = { connection: 'close', ...request.headers }
    const response = await fetch(url, { ...request, headers, signal: ending.signal })
    return { status: response.status, ok: response.ok, text: await response.text() }
  } finally {
    clearTimeout(late)
  }
}
