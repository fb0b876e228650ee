// A model's stub: POST /v1/chat/completions, streamed, always the same forty words. Prints its port.
import { createServer } from 'node:http'

const words = Array.from({ length: 40 }, (_, number) => `word${number} `)
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const server = createServer(async (request, response) => {
  let body = ''
  for await (const piece of request) body += piece
  if (request.method !== 'POST') {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ object: 'list', data: [{ id: 'stub', object: 'model' }] }))
    return
  }
  const asked = JSON.parse(body)
  const chunk = (delta, finish_reason = null) => ({
    id: 'chatcmpl-stub', object: 'chat.completion.chunk', created: 1, model: 'stub', choices: [{ index: 0, delta, finish_reason }],
  })
  if (!asked.stream) {
    const message = { role: 'assistant', content: words.join('') }
    const whole = { id: 'chatcmpl-stub', object: 'chat.completion', created: 1, model: 'stub', choices: [{ index: 0, message, finish_reason: 'stop' }] }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(whole))
    return
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  const say = (value) => response.write(`data: ${JSON.stringify(value)}\n\n`)
  say(chunk({ role: 'assistant', content: '' }))
  for (const word of words) {
    say(chunk({ content: word }))
    await pause(25)
  }
  say(chunk({}, 'stop'))
  say({ ...chunk({}), choices: [], usage: { prompt_tokens: 7, completion_tokens: 40, total_tokens: 47 } })
  response.end('data: [DONE]\n\n')
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
