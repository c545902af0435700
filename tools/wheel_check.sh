#!/usr/bin/env bash
# Build the sdist, from that the wheel, and use the wheel without extras in an environment of its
# own, away from the checkout, whose folders would otherwise stand in for what the wheel forgot.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

.venv/bin/python -m build --no-isolation --outdir "$work/dist" . >"$work/build.log" 2>&1 ||
    { cat "$work/build.log" >&2; exit 1; }

.venv/bin/python -m venv "$work/venv"
pip=("$work/venv/bin/python" -m pip --disable-pip-version-check install --quiet
    --only-binary=:all: --constraint constraints.txt)
"${pip[@]}" torch
"${pip[@]}" "$work"/dist/*.whl pytest

cp -r tests/no_extras "$work"
cd "$work"
venv/bin/nisqkit train --epochs 1
venv/bin/python -m pytest --import-mode=importlib -W error no_extras
