#!/bin/bash
# Make a backup, verify it, and after a full one remove those that are past their time:
#   backup.sh full|incremental|configuration DATABASE FOLDER [CONFIG]
# PYTHON is the interpreter; KEEP_FULL, KEEP_INCREMENTAL and KEEP_CONFIGURATION are days.
set -euo pipefail
kind=$1 database=$2 folder=$3 config=${4-}
backup() { "${PYTHON:-python}" -m reference_impl backup "$1" --database "$database" --folder "$folder" "${@:2}"; }
before() { date --utc --date "$1 days ago" +%Y-%m-%dT%H:%M:%S; }

mkdir -p "$folder"
exec 9>"$folder/schedule.lock"
flock 9 # one kind waits for another

more=()
[ "$kind" != configuration ] || [ -z "$config" ] || more=(--config "$config")
made=$(backup create --type "$kind" "${more[@]}")
backup verify "$made"

[ "$kind" = full ] || exit 0
full=$(before "${KEEP_FULL:-30}")
incremental=$(before "${KEEP_INCREMENTAL:-8}")
configuration=$(before "${KEEP_CONFIGURATION:-90}")
backup list | while read -r id type at _; do
  [ "$id" = "$made" ] || [[ "$at" > "${!type}" ]] || rm -r "${folder:?}/$id"
done
