#!/bin/sh
# mypy and pyright do not follow the import hook of an editable install. This folder of links, which
# git ignores, shows them the root folders under the names they are imported by.
set -eu
cd "$(dirname "$0")/.."
rm -rf .types
mkdir -p .types/nisqkit
for init in */__init__.py; do
    folder=$(dirname "$init")
    ln -s "../../$folder" ".types/nisqkit/$folder"
done
