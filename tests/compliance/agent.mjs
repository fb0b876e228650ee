// An agent that says again what it is asked, in the dialect of InstaClaw's connector: something for a compliance suite to speak with.
//
// node agent.mjs WS_URL APP_KEY APP_SECRET; `ws` is that of tests/clients.
import { createRequire } from 'node:module';
const { WebSocket } = createRequire(new URL('../clients/', import.meta.url))('ws');

const [url, key, secret] = process.argv.slice(2);
const socket = new WebSocket(url, { headers: { 'x-app-key': key, 'x-app-secret': secret } });
let answers = 0;

socket.on('open', () => console.log('online'));
socket.on('close', () => process.exit(1));
socket.on('message', (message) => {
  const { input, metadata } = JSON.parse(message);
  if (!Array.isArray(input)) return;
  answers += 1;
  const [response_id, item_id] = [`resp_${Date.now()}_${answers}`, `item_${answers}`];
  const { session_id } = metadata;
  const asked = input.flatMap((item) => item.content ?? []).map((part) => part.text ?? '').join(' ');
  const item = { id: item_id, type: 'message', status: 'in_progress', role: 'assistant', content: [{ type: 'output_text', status: 'in_progress', text: '' }] };
  const frames = [
    { type: 'response.in_progress', response_id, status: 'in_progress', metadata: { session_id } },
    { type: 'response.output_item.added', response_id, item, index: 0 },
    ...`You said: ${asked}`.match(/[^]{1,12}/g).map((text) => ({ type: 'response.output_text.delta', response_id, item_id, content_index: 0, delta: { text } })),
    { type: 'response.content_part.done', response_id, item_id, content_index: 0, status: 'completed' },
    { type: 'response.completed', response_id, status: 'completed', metadata: { session_id } },
  ];
  // Sorted by their dates: no two have the same.
  const now = Date.now();
  frames.forEach((frame, n) => socket.send(JSON.stringify({ ...frame, timestamp: new Date(now + n).toISOString() })));
});
