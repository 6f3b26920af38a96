#!/usr/bin/env bash
# backup.sh FOLDER: database first, then artifacts, so that no version in the copy names a file that is not in it.
# Takes the addresses from the environment, as `podium server` does.
set -euo pipefail
folder=$1
mkdir -p "$folder"
pg_dump --format=custom --no-owner --dbname="$MLFLOW_BACKEND_STORE_URI" --file="$folder/database.new"
mv "$folder/database.new" "$folder/database.dump"
aws ${MLFLOW_S3_ENDPOINT_URL:+--endpoint-url "$MLFLOW_S3_ENDPOINT_URL"} s3 sync --no-progress "$MLFLOW_ARTIFACTS_DESTINATION" "$folder/artifacts"
