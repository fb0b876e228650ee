// The official MCP client lists and calls tools of a running bridge.
//
// node mcp.mjs URL TOKEN: each line of standard input is a step, `{"call":NAME,"arguments":{…},"meta":{…}}`, `{"list":true}` or
// `{"ping":true}`; each line of standard output is what came of one, with `error` where the client threw. The first line is what was negotiated.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { createInterface } from 'node:readline';

const [url, token] = process.argv.slice(2);
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const failure = (error) => ({ error: { name: error.constructor.name, code: error.code ?? null, message: String(error.message).slice(0, 500) } });

const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { Authorization: `Bearer ${token}` } } });
const client = new Client({ name: 'clawbridge-tests', version: '1.0.0' });

async function list() {
  const tools = [];
  let pages = 0;
  let cursor;
  do {
    const page = await client.listTools(cursor === undefined ? {} : { cursor });
    tools.push(...page.tools);
    cursor = page.nextCursor;
    pages += 1;
  } while (cursor !== undefined);
  return { tools, pages };
}

async function step(asked) {
  if (asked.list) return list();
  if (asked.ping) return client.ping();
  return client.callTool({ name: asked.call, arguments: asked.arguments, ...(asked.meta && { _meta: asked.meta }) });
}

try {
  await client.connect(transport);
  tell({ server: client.getServerVersion(), capabilities: client.getServerCapabilities(), protocol: transport.protocolVersion, instructions: client.getInstructions() });
  for await (const line of createInterface({ input: process.stdin })) {
    tell(await step(JSON.parse(line)).then((result) => ({ result }), failure));
  }
  await client.close();
} catch (error) {
  tell(failure(error));
  process.exitCode = 1;
}
