// The official OpenAI client for Node has turns on a WebSocket of a running bridge.
//
// node responses.mjs BASE_URL TOKEN: each line of standard input is a step, a `response.create` without its type, whose `previous_response_id`
// may be the number of an earlier step. Each line of standard output is what came of one: the types of the events, the deltas put
// together, the final response; or `error`, as the client gives it. All steps use one connection.
import OpenAI from 'openai';
import { ResponsesWS } from 'openai/resources/responses/ws';
import { createInterface } from 'node:readline';

const [baseURL, apiKey] = process.argv.slice(2);
const ENDS = ['response.completed', 'response.failed', 'response.incomplete'];
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const failure = (error) => ({
  error: { name: error.constructor.name, message: String(error.message), event: error.error ?? null },
});

const connection = new ResponsesWS(new OpenAI({ baseURL, apiKey }));
// What becomes of a step: its promise's two ends.
let step;
const done = [];

connection.on('event', (event) => {
  if (step === undefined || event.type === 'error') return;
  step.events.push(event.type);
  step.numbers.push(event.sequence_number);
  if (event.type === 'response.output_text.delta') step.deltas.push(event.delta);
  if (ENDS.includes(event.type)) step.resolve(event.response);
});
connection.on('error', (error) => {
  if (step === undefined) {
    tell(failure(error));
    process.exit(1);
  }
  step.reject(error);
});

function turn(asked) {
  const { previous_response_id: previous, ...frame } = asked;
  return new Promise((resolve, reject) => {
    step = { events: [], numbers: [], deltas: [], resolve, reject };
    const chain = Number.isInteger(previous) ? { previous_response_id: done[previous].id } : previous && { previous_response_id: previous };
    connection.send({ type: 'response.create', ...frame, ...chain });
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  await turn(JSON.parse(line)).then(
    (response) => {
      done.push(response);
      tell({ events: step.events, numbers: step.numbers, text: step.deltas.join(''), deltas: step.deltas.length, response });
    },
    (error) => {
      done.push(null);
      tell({ events: step.events, ...failure(error) });
    },
  );
}
connection.close();
