#!/usr/bin/env bash
# restore.sh FOLDER: into an empty database and an empty place for artifacts, while no server runs on them.
set -euo pipefail
folder=$1
aws ${MLFLOW_S3_ENDPOINT_URL:+--endpoint-url "$MLFLOW_S3_ENDPOINT_URL"} s3 sync --no-progress "$folder/artifacts" "$MLFLOW_ARTIFACTS_DESTINATION"
pg_restore --no-owner --exit-on-error --single-transaction --dbname="$MLFLOW_BACKEND_STORE_URI" "$folder/database.dump"
