#!/bin/sh
# mypy and pyright do not follow the import hook of an editable install. This folder of links, which
# git ignores, shows them the root folders under the names they are imported by. (Its name has no
# leading dot because pyright passes over such folders.)
set -eu
cd "$(dirname "$0")/.."
links=build/types/nisqkit
rm -rf build/types
mkdir -p "$links"
for init in */__init__.py; do
    folder=$(dirname "$init")
    ln -s "../../../$folder" "$links/$folder"
done
