#!/usr/bin/env bash
# Checks what Purser is built from against deny.toml: licences, sources, forbidden crates, known vulnerabilities.
set -euo pipefail

version=0.20.2
bin=${CARGO_HOME:-$HOME/.cargo}/bin
PATH=$PATH:$bin

if [ "$(cargo deny --version 2>/dev/null)" != "cargo-deny $version" ]; then
    echo "installing cargo-deny $version (a few minutes, once)"
    # It runs for seconds: what counts is how long it takes to build.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --force cargo-deny --version "$version"
fi

cargo deny --log-level error check --hide-inclusion-graph licenses bans sources

# Some machines reach a mirror of the crates and nothing else. That is no reason to stop, but it is said.
if fetch=$(timeout 120 cargo deny fetch db 2>&1); then
    cargo deny check advisories
else
    echo "NOTE: known vulnerabilities were not checked: the advisory database could not be fetched:"
    printf '%s\n' "$fetch" | grep -m 3 -iE 'error|fatal|unable' || printf '%s\n' "$fetch" | head -n 3
fi
