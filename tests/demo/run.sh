#!/usr/bin/env bash
# The main job on one machine, without a cluster: a gateway that plays the provider, a gateway that is the relay, three
# messages from client to provider over TLS with a password. Everything is made in a new folder and removed at the end;
# ports come from the kernel. Called by `make demo`, which builds first.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${CARGO_TARGET_DIR:-$root/target}/debug
examples=$root/operator/examples
work=$(mktemp -d "${TMPDIR:-/tmp}/posthouse-demo.XXXXXX")
pids=()

finish() {
  status=$?
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if [ "$status" -ne 0 ]; then
    echo "demo failed; the logs:" >&2
    tail -n 20 "$work"/*.log >&2 || true
  fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# HTTP GET without a tool that a fresh machine may not have.
get() { # ADDRESS PATH
  exec 3<>"/dev/tcp/${1%:*}/${1##*:}"
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
  sed '1,/^\r*$/d' <&3
  exec 3>&-
}

# Waits for a condition, with a deadline; no fixed sleep is relied on.
until_true() { # WHAT COMMAND...
  local what=$1 end=$((SECONDS + 30))
  shift
  until "$@"; do
    if [ "$SECONDS" -ge "$end" ]; then echo "gave up waiting: $what" >&2; return 1; fi
    sleep 0.1
  done
}

address() { # LOG NAME -> the address that was bound
  sed -n "s/.* listening listener=\"\{0,1\}$2\"\{0,1\} address=\([0-9.:]*\).*/\1/p" "$work/$1.log" | head -n 1
}
has_address() { [ -n "$(address "$1" "$2")" ]; }

start() { # NAME: runs a gateway on the rendering of that name
  "$bin/posthouse-gateway" run --config "$work/$1" --admin 127.0.0.1:0 --listen submission=127.0.0.1:0 \
    --log-format text >/dev/null 2>"$work/$1.log" &
  pids+=($!)
  until_true "$1 listens" has_address "$1" submission
}

say "1. The provider: a gateway with a certificate of its own, a password, and a folder for what it receives"
"$bin/posthouse-operator" render -f "$examples/demo-provider.yaml" --local "$work/provider"
start provider
provider=$(address provider submission)
echo "provider listens on $provider"

say "2. The relay: rendered from a MailRelay whose Secret and CA are the provider's own bindings"
sed "s/port: 2587/port: ${provider##*:}/" "$examples/demo-relay.yaml" >"$work/relay.yaml"
"$bin/posthouse-operator" check -f "$work/relay.yaml" -f "$work/provider/bindings.yaml"
"$bin/posthouse-operator" render -f "$work/relay.yaml" -f "$work/provider/bindings.yaml" --local "$work/relay"
start relay
relay=$(address relay submission)
admin=$(address relay admin)
echo "relay listens on $relay, its status is at http://$admin/status"

say "3. Three messages from an application that knows nothing but its binding"
for i in 1 2 3; do
  say "message $i"
  "$bin/posthouse-gateway" send --binding "$work/relay/bindings/checkout" --server "$relay" \
    --from noreply@shop.example.com --to "customer$i@example.org" --subject "Order $i"
done

say "4. Each on its way"
captured=$work/provider/spool/captured
arrived() { [ "$(find "$captured" -name '*.eml' 2>/dev/null | wc -l)" -eq 3 ]; }
until_true "three messages at the provider" arrived
relayed() { get "$admin" /metrics | grep -q '^posthouse_recipients_total{outcome="relayed",upstream="provider"} 3$'; }
until_true "three recipients relayed" relayed
grep -hE 'accepted|relayed' "$work/relay.log"
first=$(find "$captured" -name '*.eml' | sort | head -n 1)
say "what the provider received, the first of three ($(basename "$first"))"
tr -d '\r' <"$first"

say "5. What Prometheus sees at the relay"
get "$admin" /metrics | grep -E '^posthouse_(messages_accepted_total|recipients_total|queue_messages|upstream_up|upstream_state|spool_failed)' | grep -vE ' 0$' || true
get "$admin" /metrics | grep -E '^posthouse_queue_messages'

say "Three messages accepted, kept on disk, relayed over TLS with a password. Done."
