#!/bin/sh
# A real OpenClaw gateway with a model's stub behind it, the connector, the bridge, and a user: see README.md.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=${OPENCLAW_TEST_DIR:-$here/../../target/openclaw}
version=${OPENCLAW_VERSION:-2026.9.6}
clawbridge=${CLAWBRIDGE:-$here/../../target/debug/clawbridge}
mkdir -p "$work"
work=$(cd "$work" && pwd)

[ -x "$clawbridge" ] || { echo "no $clawbridge: cargo build -p clawbridge" >&2; exit 2; }
# OpenClaw wants a newer Node than most systems have; npm carries one.
[ -x "$work/node_modules/node/bin/node" ] || (cd "$work" && npm install --silent --no-audit --no-fund --no-save --prefix . node@24)
PATH=$work/node_modules/node/bin:$PATH
[ -d "$work/node_modules/openclaw" ] ||
    (cd "$work" && npm install --silent --no-audit --no-fund --prefix . node@24 "openclaw@$version")

state=$(mktemp -d)
pids=
finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$state"
}
trap finish EXIT INT TERM

# A port from the line that a program prints first.
first_line() {
    for _ in $(seq 100); do
        [ -s "$1" ] && { head -n 1 "$1"; return; }
        sleep 0.1
    done
    echo "$1 has no first line" >&2
    return 1
}

node "$here/model.mjs" >"$state/model" & pids="$pids $!"
printf '\n' >"$state/bridge.toml"
"$clawbridge" dev --json --port 0 --state "$state/bridge" --config "$state/bridge.toml" >"$state/bridge.log" & pids="$pids $!"
model=$(first_line "$state/model")
# What a program says in JSON under this name.
field() { grep -o "\"$1\": *\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }
channel=$(first_line "$state/bridge.log" | field channel_url)
bridge=$(first_line "$state/bridge.log" | field endpoint_url)
"$clawbridge" agent add main --json --local "$bridge" >"$state/agent"
token=$("$clawbridge" token create --name user --scope agent:main --json --local "$bridge" | field token)
node "$here/user.mjs" "$work/node_modules/ws" "$channel" "$token" >"$state/user" & user=$!; pids="$pids $user"
relay=$(first_line "$state/user")
gateway=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })')

cat >"$state/openclaw.json" <<CONFIG
{
  "gateway": {
    "mode": "local", "bind": "loopback", "port": $gateway,
    "auth": { "mode": "token", "token": "gateway-token-0123456789abcdef" },
    "http": { "endpoints": { "responses": { "enabled": true } } }
  },
  "agents": { "defaults": { "model": { "primary": "stub/stub" }, "workspace": "$state/workspace" } },
  "models": {
    "mode": "replace",
    "providers": {
      "stub": {
        "baseUrl": "http://127.0.0.1:$model/v1", "apiKey": "none", "api": "openai-completions",
        "models": [{
          "id": "stub", "name": "Stub", "reasoning": false, "input": ["text"],
          "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0 }, "contextWindow": 200000, "maxTokens": 4096
        }]
      }
    }
  }
}
CONFIG
mkdir -p "$state/home" "$state/workspace"
HOME=$state/home OPENCLAW_STATE_DIR=$state/openclaw OPENCLAW_CONFIG_PATH=$state/openclaw.json \
    node "$work/node_modules/openclaw/openclaw.mjs" gateway run --port "$gateway" >"$state/gateway.log" 2>&1 & pids="$pids $!"

# The connector is there first, and waits for the gateway.
CLAWBRIDGE_APP_SECRET=$(field secret <"$state/agent") OPENCLAW_GATEWAY_TOKEN=gateway-token-0123456789abcdef \
    "$clawbridge" connect --url "ws://127.0.0.1:$relay/responses" --app-key "$(field key <"$state/agent")" \
    --gateway-url "http://127.0.0.1:$gateway" --gateway-wait 120 --model openclaw --debug >"$state/connector.log" & connector=$!
pids="$pids $connector"

(sleep "${OPENCLAW_TEST_SECONDS:-180}"; kill "$user" 2>/dev/null) & pids="$pids $!"
if wait "$user"; then
    # Nothing is under way any more: it leaves at once.
    kill "$connector"
    wait "$connector" && echo "the connector ended with 0" >&2
    exit 0
fi
echo "--- the connector"; tail -n 40 "$state/connector.log"
echo "--- the bridge"; tail -n 40 "$state/bridge.log"
echo "--- the gateway"; tail -n 40 "$state/gateway.log"
exit 1
