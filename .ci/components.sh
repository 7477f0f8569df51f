#!/usr/bin/env bash
# Makes sure that cargo has rustfmt and clippy, which a minimal installation of Rust leaves out.
set -euo pipefail

for component in fmt clippy; do
    cargo "$component" --version >/dev/null 2>&1 && continue
    name=${component/fmt/rustfmt}
    if ! command -v rustup >/dev/null 2>&1; then
        echo "$name is missing, and rustup, which would add it, is not there" >&2
        exit 1
    fi
    rustup component add "$name"
done
