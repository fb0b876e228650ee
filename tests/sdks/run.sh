#!/usr/bin/env bash
# The official libraries against the bridge; README.md says more. Arguments: the schemes to try, all without any.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
scratch=${SDKS:-$(mktemp -d)}
work=$(mktemp -d)
bridge=
finish() {
  if [ -n "$bridge" ]; then kill "$bridge" 2>/dev/null || true; wait "$bridge" 2>/dev/null || true; fi
  rm -rf "$work"
  if [ -z "${SDKS:-}" ]; then rm -rf "$scratch"; fi
}
trap finish EXIT

echo "== libraries into $scratch"
mkdir -p "$scratch"
cp "$here/package.json" "$scratch/"
(cd "$scratch" && npm install --silent --ignore-scripts --no-audit --no-fund --no-package-lock)
[ -x "$scratch/venv/bin/python" ] || python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"

echo "== clawbridge dev"
if [ -z "${CLAWBRIDGE:-}" ]; then
  (cd "$root" && cargo build --quiet --locked -p clawbridge)
  CLAWBRIDGE=$root/target/debug/clawbridge
fi
cd "$work"
"$CLAWBRIDGE" dev --ephemeral --json --port 0 --config "$work/bridge.toml" >"$work/journal" 2>"$work/complaints" &
bridge=$!
for _ in $(seq 300); do
  if grep -q '"dev.ready"' "$work/journal"; then break; fi
  kill -0 "$bridge" 2>/dev/null || { cat "$work/complaints" >&2; exit 1; }
  sleep 0.1
done
address() { python3 -c '
import json, sys
lines = (json.loads(line) for line in open(sys.argv[1], encoding="utf-8"))
print(next(line for line in lines if line["kind"] == "dev.ready")["stack"][sys.argv[2]])' "$work/journal" "$1"; }
public=$(address public_url)
private=$(address endpoint_url)

schemes=("$@")
if [ ${#schemes[@]} -eq 0 ]; then
  mapfile -t schemes < <(python3 -c 'import json, sys; print("\n".join(json.load(open(sys.argv[1], encoding="utf-8"))))' "$here/plan.json")
fi
for scheme in "${schemes[@]}"; do
  secret=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1], encoding="utf-8"))[sys.argv[2]]["secret"])' "$here/plan.json" "$scheme")
  "$CLAWBRIDGE" --local "$private" source add "$scheme" --scheme "$scheme" --replace >/dev/null <<<"$secret"
done

echo "== requests to $public"
node "$here/sdk_requests.mjs" "$here/plan.json" "$public" "$scratch" "${schemes[@]}" >"$work/results"
"$scratch/venv/bin/python" "$here/sdk_requests.py" "$here/plan.json" "$public" "${schemes[@]}" >>"$work/results"
python3 - "$work/results" "${schemes[@]}" <<'PYTHON'
import json, sys

with open(sys.argv[1], encoding="utf-8") as file:
    rows = [json.loads(line) for line in file]
wrong = [row for row in rows if row["expected"] != row["got"]]
for row in rows:
    mark = "ok" if row["expected"] == row["got"] else "DIFFERENT"
    print(f"{mark:<10}{row['scheme']:<19}{row['what']:<16}{row['expected']} {row['got']}  {row['sdk']}")
silent = sorted(set(sys.argv[2:]) - {row["scheme"] for row in rows})
print(f"{len(rows)} requests, {len(wrong)} answered otherwise than they should be" + (f"; nothing was sent for {', '.join(silent)}" if silent else ""))
sys.exit(1 if wrong or silent or not rows else 0)
PYTHON
