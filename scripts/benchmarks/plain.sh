#!/usr/bin/env bash
# The plain way to release a folder with git-lfs, as people script it. Run as: plain.sh PLACE FOLDER TAG
# PLACE/remote.git, or the address in PLAIN_REMOTE, is there; PLACE/clone is made by the first release and used again by the next ones.
set -euo pipefail
place=$1 folder=$2 tag=$3

if [ ! -d "$place/clone" ]; then
    git clone -q "${PLAIN_REMOTE:-file://$place/remote.git}" "$place/clone"
    cd "$place/clone"
    git lfs install --local >/dev/null
    git lfs track '*.safetensors' '*.bin' >/dev/null
fi
cd "$place/clone"
cp -r "$folder/." .
git add -A
if ! git diff --cached --quiet; then
    git commit -q -m "Release $tag"
    git tag -a "$tag" -m "Release $tag"
    git push -q origin main "$tag"
fi
