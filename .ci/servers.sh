#!/usr/bin/env bash
# Installs what the tests start as real object-store servers, and does nothing where it is installed:
#   the Ceph object gateway (S3), on Debian and Ubuntu; needs root, or sudo without a question
#   Azurite (Azure), with npm into ~/.cache/trialstore
# moto (S3) and the emulator of Google Cloud Storage come from PyPI, with the extra "test".
set -euo pipefail

ceph() {
  if command -v ceph-mon ceph-osd radosgw radosgw-admin monmaptool >/dev/null; then
    echo "servers: the Ceph gateway is installed"
    return
  fi
  if ! command -v apt-get >/dev/null; then
    echo "servers: no apt-get here; install ceph-mon, ceph-osd and radosgw by hand" >&2
    return 1
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
  fi
  echo "servers: installing ceph-mon, ceph-osd and radosgw with apt-get"
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends ceph-mon ceph-osd radosgw >/dev/null
  echo "servers: installed the Ceph gateway"
}

azurite() {
  local version=3.35.0
  local folder="${XDG_CACHE_HOME:-$HOME/.cache}/trialstore/azurite-$version"
  if [ -f "$folder/node_modules/azurite/dist/src/blob/main.js" ]; then
    echo "servers: Azurite is installed"
    return
  fi
  if ! command -v npm >/dev/null; then
    echo "servers: no npm here; install Node 20 or later" >&2
    return 1
  fi
  echo "servers: installing Azurite with npm"
  # Installed beside, then moved: an installation that was broken off is never taken for a whole one.
  mkdir -p "$(dirname "$folder")"
  local fresh
  fresh=$(mktemp -d "$folder.XXXXXX")
  (cd "$fresh" && npm install --no-save --no-audit --no-fund --silent "azurite@$version")
  rm -rf "$folder"
  mv "$fresh" "$folder"
  echo "servers: installed Azurite"
}

ceph
azurite
