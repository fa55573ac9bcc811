#!/usr/bin/env bash
# Checks all of deploy/ that can be checked without Docker and Kubernetes, then starts a keyledger binary as the unit, the
# manifests and the compose file start it: run.sh BINARY
# Installs what is missing: tools from PyPI into a virtual environment, others as Debian's packages. Needs to be root: what
# it starts has a file system and a network of its own, to be on the very paths and ports of the files.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for pair in nginx:nginx-light caddy:caddy promtool:prometheus systemd-analyze:systemd openssl:openssl ip:iproute2; do
    command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
done
if [ -n "${missing:-}" ]; then
    apt-get update --quiet >"$work/apt" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${missing[@]}" \
            >>"$work/apt" 2>&1 || { cat "$work/apt"; exit 1; }
fi
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
export PYTHONDONTWRITEBYTECODE=1 PATH="$work/venv/bin:$PATH"
# Whatever is started there ends with it.
apart() { unshare --mount --net --pid --fork --mount-proc "$@"; }
apart python3 "$here/files.py" "$binary"
apart python3 "$here/starts.py" "$binary" "$work"
