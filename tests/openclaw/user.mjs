// A user of the channel: three turns in two sessions, two of them at once, over two connections. Between the connector and the bridge stands a relay
// that cuts the connector's connection in the middle of the second answer. Prints the relay's port; ends with 0 when every answer is whole.
//
// Usage: node user.mjs WS_MODULE CHANNEL_URL TOKEN
import { createRequire } from 'node:module'
import { connect, createServer } from 'node:net'

const { WebSocket } = createRequire(import.meta.url)(process.argv[2])
const [channel, token] = process.argv.slice(3)
const expected = Array.from({ length: 40 }, (_, number) => `word${number} `).join('').trim()
const ends = ['response.completed', 'response.failed', 'response.incomplete']

const connections = new Set()
const relay = createServer((near) => {
  const far = connect(new URL(channel).port, '127.0.0.1')
  const cut = () => {
    near.destroy()
    far.destroy()
    connections.delete(cut)
  }
  connections.add(cut)
  console.error(`the connector connects, ${connections.size} open`)
  for (const [from, to] of [[near, far], [far, near]]) from.on('error', cut).on('close', cut).pipe(to)
})

/** Asks, and reads the answer to its end: events without a gap, whose pieces together are the text. */
function ask(socket, name, session, cutAt) {
  return new Promise((resolve, reject) => {
    let next = 0
    let text = ''
    let pieces = 0
    socket.on('close', () => reject(new Error(`${name}: the connection was closed`)))
    socket.on('message', function read(frame) {
      const event = JSON.parse(frame)
      if (event.sequence_number !== next++) return reject(new Error(`${name}: a gap before ${frame}`))
      if (event.type === 'response.output_text.delta') {
        text += event.delta
        pieces++
        if (cutAt && text.includes(cutAt)) {
          cutAt = undefined
          console.error(`${name}: the connector is cut off`)
          for (const cut of [...connections]) cut()
        }
      }
      if (!ends.includes(event.type)) return
      socket.off('message', read)
      console.error(`${name}: ${event.type}, ${text.length} characters in ${pieces} pieces`)
      const said = event.response.output.flatMap((item) => item.content ?? []).map((part) => part.text).join('')
      if (event.type === 'response.completed' && text.trim() === expected && said.trim() === expected && pieces > 1) return resolve()
      reject(new Error(`${name} is not whole: ${JSON.stringify(text)} ${frame}`))
    })
    socket.send(JSON.stringify({ type: 'response.create', model: 'main', input: `Hello from ${name}`, metadata: { session_id: session } }))
  })
}

const open = () =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(channel, { headers: { authorization: `Bearer ${token}` } })
    socket.on('open', () => resolve(socket)).on('error', reject)
  })

relay.listen(0, '127.0.0.1', () => console.log(relay.address().port))
try {
  const [first, second] = [await open(), await open()]
  const inTheFirst = async () => {
    await ask(first, 'one', 'first')
    await ask(first, 'two', 'first', 'word9')
  }
  await Promise.all([inTheFirst(), ask(second, 'three', 'second')])
  console.error('every answer is whole')
  process.exit(0)
} catch (error) {
  console.error(String(error))
  process.exit(1)
}
