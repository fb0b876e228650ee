// Plays the bridge's side of bridge.v1 for one connector: three turns in two sessions, a connection that is cut in the middle of an answer, a
// hand-over in the middle of another. Prints its port; ends with 0 when every answer is whole.
//
// Usage: node bridge.mjs WS_MODULE
import { createServer } from 'node:http'
import { createRequire } from 'node:module'

const { WebSocketServer } = createRequire(import.meta.url)(process.argv[2])
const expected = Array.from({ length: 40 }, (_, number) => `word${number} `).join('')
const turns = new Map()
const add = (response, session, cut, drain) =>
  turns.set(response, { response, session, cut, drain, next: 0, text: '', frames: 0, end: undefined, sent: false })
add('resp_one', 'first', false, false)
add('resp_two', 'first', true, false)
add('resp_three', 'second', false, true)

let connections = 0
const server = createServer()
const sockets = new WebSocketServer({ server, path: '/responses' })

sockets.on('connection', (socket, request) => {
  const number = ++connections
  const send = (frame) => socket.readyState === 1 && socket.send(JSON.stringify({ bridge: 1, ...frame }))
  if (request.headers['x-app-key'] !== 'oak_test' || request.headers['x-app-secret'] !== 'oas_test') throw new Error('headers')
  if (request.headers['x-clawbridge-connector'] !== 'bridge.v1') throw new Error('x-clawbridge-connector')
  socket.on('message', (text) => {
    const frame = JSON.parse(text)
    if (frame.type === 'hello') {
      console.error(`connection ${number}: hello of ${frame.connector}, holds ${frame.holds.length}`)
      send({ type: 'welcome', until: Date.now() + 7_200_000, beat_seconds: 30, max_frame_bytes: 16384 })
      for (const turn of turns.values()) {
        if (turn.sent) continue
        turn.sent = true
        const input = [{ type: 'message', role: 'user', content: [{ type: 'input_text', text: `Hello from ${turn.response}` }] }]
        const settings = { model: 'openclaw', store: true }
        send({ type: 'turn', response: turn.response, session: turn.session, at: Date.now(), input, settings })
      }
    } else if (frame.type === 'beat') {
      send({ type: 'beat' })
    } else if (frame.type === 'leaving') {
      console.error(`connection ${number}: leaving`)
    } else if (frame.type === 'say') {
      const turn = turns.get(frame.response)
      if (frame.number === turn.next) {
        turn.next++
        turn.frames++
        for (const event of frame.events) {
          if (event.event === 'text') turn.text += event.text
          if (event.event === 'completed') turn.end = 'completed'
          if (event.event === 'incomplete') turn.end = `incomplete: ${event.reason}`
          if (event.event === 'failed') turn.end = `failed: ${event.code}: ${event.message}`
        }
        if (turn.cut && turn.text.includes('word9')) {
          turn.cut = false
          console.error(`connection ${number}: cut`)
          return socket.terminate()
        }
        if (turn.drain && turn.text.includes('word9')) {
          turn.drain = false
          console.error(`connection ${number}: drain`)
          send({ type: 'drain', before: Date.now() + 60_000 })
        }
      }
      send({ type: 'ack', response: turn.response, next: turn.next })
      if ([...turns.values()].every((each) => each.end)) finish()
    }
  })
})

function finish() {
  let whole = true
  for (const turn of turns.values()) {
    const right = turn.end === 'completed' && turn.text.trim() === expected.trim()
    whole &&= right
    console.error(`${turn.response}: ${turn.end}, ${turn.text.length} characters in ${turn.frames} frames${right ? '' : `: ${JSON.stringify(turn.text)}`}`)
  }
  console.error(whole ? 'every answer is whole' : 'NOT every answer is whole')
  setTimeout(() => process.exit(whole ? 0 : 1), 500)
}

server.listen(0, '127.0.0.1', () => console.log(server.address().port))
