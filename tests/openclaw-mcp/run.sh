#!/usr/bin/env bash
# The real OpenClaw probes the MCP server of a running bridge: it must find the tools. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${WORK:-$(mktemp -d)}
openclaw=${OPENCLAW_VERSION:-2026.9.6}
mkdir -p "$work/home" "$work/bridge"

# OpenClaw wants Node 24; npm has that as a package.
if [ ! -x "$work/node24/node_modules/.bin/node" ]; then
  npm install --prefix "$work/node24" --no-audit --no-fund --silent node@24
fi
export PATH="$work/node24/node_modules/.bin:$PATH"
if [ ! -e "$work/openclaw/node_modules/.bin/openclaw" ]; then
  npm install --prefix "$work/openclaw" --no-audit --no-fund --silent "openclaw@$openclaw"
fi

cat > "$work/bridge/bridge.toml" <<'END'
[tools.create_ticket]
description = "Writes a ticket"
method = "POST"
url = "bridge:/echo/tickets"
effect = "idempotent"
body = "."
input = { type = "object", properties = { title = { type = "string" } }, required = ["title"] }
END
(cd "$root" && cargo build -q -p clawbridge)
bridge="$root/target/debug/clawbridge"
"$bridge" dev --json --port 0 --state "$work/bridge/state" --config "$work/bridge/bridge.toml" > "$work/bridge/journal" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true' EXIT
for _ in $(seq 200); do
  grep -q '"dev.ready"' "$work/bridge/journal" && break
  kill -0 "$pid"
  sleep 0.1
done
field() { node -e 'const [file, name] = process.argv.slice(1); for (const line of require("fs").readFileSync(file, "utf8").split("\n")) { if (line.includes("dev.ready")) console.log(JSON.parse(line).stack[name]); }' "$work/bridge/journal" "$1"; }
public=$(field public_url)
# The probe leads through the address in MCP_PROXY, if something listens there that writes down what is said.
url=${MCP_PROXY:-$public}/mcp
[ -z "${MCP_PROXY:-}" ] || echo "$public" > "$work/upstream"
token=$("$bridge" token create --name "openclaw-$$" --scope execute --local "$(field endpoint_url)" 2>/dev/null)

export HOME="$work/home" OPENCLAW_STATE_DIR="$work/home/.openclaw"
mkdir -p "$OPENCLAW_STATE_DIR"
URL="$url" TOKEN="$token" node -e '
  const servers = { bridge: { url: process.env.URL, transport: "streamable-http", headers: { Authorization: `Bearer ${process.env.TOKEN}` },
    requestTimeoutMs: 30000, connectionTimeoutMs: 5000 } };
  require("fs").writeFileSync(process.env.OPENCLAW_STATE_DIR + "/openclaw.json", JSON.stringify({ mcp: { servers } }, null, 2), { mode: 0o600 });'
node "$work/openclaw/node_modules/.bin/openclaw" mcp probe bridge --json > "$work/probe.json"
cat "$work/probe.json"
for tool in create_ticket task_create task_get task_wait task_list task_cancel; do
  grep -q "$tool" "$work/probe.json" || { echo "OpenClaw does not see $tool" >&2; exit 1; }
done
echo "OpenClaw $openclaw sees the tools of the bridge."
