#!/usr/bin/env bash
# Installs what the tests start as real servers, and does nothing where it is installed:
#   the Ceph object gateway (S3), PostgreSQL and MariaDB, on Debian and Ubuntu; needs root, or sudo without a question
#   Azurite (Azure), with npm into ~/.cache/trialstore
# moto (S3) and the emulator of Google Cloud Storage come from PyPI, with the extra "test".
set -euo pipefail

# Installs packages with apt-get unless a program of theirs is there.
debian() {
  local what=$1 program=$2
  shift 2
  if [ -n "$(command -v "$program" || ls /usr/sbin/"$program" /usr/lib/postgresql/*/bin/"$program" 2>/dev/null)" ]; then
    echo "servers: $what is installed"
    return
  fi
  if ! command -v apt-get >/dev/null; then
    echo "servers: no apt-get here; install $* by hand" >&2
    return 1
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
  fi
  echo "servers: installing $* with apt-get"
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
  echo "servers: installed $what"
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

debian "the Ceph gateway" radosgw ceph-mon ceph-osd radosgw
debian PostgreSQL initdb postgresql
debian MariaDB mariadbd mariadb-server-core mariadb-client-core
azurite
