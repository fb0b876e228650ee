#!/usr/bin/env bash
# The Open Responses compliance suite, its WebSocket tests, against `clawbridge dev`. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
commit=3ce2fb23e3c42462e33272faca4a99ce52fc1eb6
work=$(mktemp -d)
bridge=
agent=
trap 'kill $agent $bridge 2>/dev/null || true; rm -rf "$work"' EXIT

suite=${1:-$work/openresponses}
if [ ! -d "$suite" ]; then
  git init -q "$suite"
  git -C "$suite" fetch -q --depth 1 https://github.com/openresponses/openresponses "$commit"
  git -C "$suite" checkout -q FETCH_HEAD
fi
(cd "$suite" && bun install --frozen-lockfile)

(cd "$here/../.." && cargo build -q -p clawbridge)
clawbridge=$here/../../target/debug/clawbridge
cd "$work"
touch bridge.toml
"$clawbridge" dev --json --port 0 --state "$work/state" --config bridge.toml >dev.jsonl &
bridge=$!
until ready=$(grep '"dev.ready"' dev.jsonl); do sleep 0.1; done
value() { printf '%s' "$2" | node -e 'const v = JSON.parse(require("fs").readFileSync(0)); console.log(process.argv[1].split(".").reduce((a, k) => a[k], v))' "$1"; }
private=$(value stack.endpoint_url "$ready")
public=$(value stack.public_url "$ready")

keys=$("$clawbridge" agent add main --json --local "$private")
token=$("$clawbridge" token create --name suite --scope agent:main --local "$private")
node "$here/agent.mjs" "ws://${public#http://}/responses" "$(value app_key "$keys")" "$(value app_secret "$keys")" >agent.log &
agent=$!
until grep -q online agent.log; do sleep 0.1; done

cd "$suite"
# The tests of the HTTP endpoint are left out, and the one that needs POST /responses/compact.
bun run bin/compliance-test.ts --base-url "$public/v1" --api-key "$token" --model main --filter \
  websocket-response,websocket-sequential-responses,websocket-continuation,websocket-reconnect-store-false-recovery,websocket-previous-response-not-found,websocket-failed-continuation-evicts-cache
