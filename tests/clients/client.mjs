// Each line of stdin is a case as JSON: makes its requests with fetch, or with node:http where fetch cannot,
// and prints what it got as one line of JSON.

import http from 'node:http'
import readline from 'node:readline'

const decoded = (text) => Buffer.from(text, 'base64')

function bodyOf (step) {
  if (step.form !== null) {
    const form = new FormData()
    for (const [name, value] of Object.entries(step.form)) form.append(name, value)
    form.append('file', new Blob([decoded(step.file[1])]), step.file[0])
    return form
  }
  if (step.json !== null) return JSON.stringify(step.json)
  if (step.body === null) return undefined
  const body = decoded(step.body)
  return step.chunked ? new Blob([body]).stream() : body
}

async function byFetch (step, follow) {
  const headers = { ...step.headers }
  if (step.json !== null) headers['Content-Type'] = 'application/json'
  const asked = { method: step.method, headers, body: bodyOf(step), redirect: follow ? 'follow' : 'manual' }
  const reply = await fetch(step.url, step.chunked ? { ...asked, duplex: 'half' } : asked)
  const body = Buffer.from(await reply.arrayBuffer())
  const headersGot = [...reply.headers.entries()]
  return { status: reply.status, headers: headersGot, body: body.toString('base64'), redirects: reply.redirected ? 1 : 0 }
}

function byHttp (step, agent) {
  return new Promise((resolve, reject) => {
    const headers = { ...step.headers }
    if (step.body !== null) headers['Content-Length'] = decoded(step.body).length
    if (step.expect) headers.Expect = '100-continue'
    const asked = http.request(step.url, { method: step.method, headers, agent }, async (reply) => {
      const got = []
      for await (const piece of reply) got.push(piece)
      const named = [...Object.entries(reply.headers), ...Object.entries(reply.trailers)]
      resolve({ status: reply.statusCode, headers: named.map(([k, v]) => [k, String(v)]), body: Buffer.concat(got).toString('base64'), redirects: 0 })
    })
    asked.on('error', reject)
    if (step.expect) asked.on('continue', () => asked.end(decoded(step.body)))
    else asked.end(step.body === null ? undefined : decoded(step.body))
    asked.flushHeaders()
  })
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { steps, follow, plain } = JSON.parse(line)
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const replies = []
  for (const step of steps) replies.push(await (plain ? byHttp(step, agent) : byFetch(step, follow)))
  agent.destroy()
  process.stdout.write(JSON.stringify(replies) + '\n')
}
process.exit(0)
