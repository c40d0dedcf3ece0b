#!/usr/bin/env bash
# Starts Slurm and an S3 server, runs the tests that are marked long, which are those that need them or build the images,
# and those of faults and hostile input; stops both, come what may.
# Arguments go to pytest. SYNC_SERVICES leads the tests to what runs; with SYNC_REQUIRE_SERVICES none may be skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

SYNC_SERVICES=/tmp/sync-services-$(id -u)
mkdir -p "$SYNC_SERVICES"
[ -O "$SYNC_SERVICES" ] || { echo "error: $SYNC_SERVICES belongs to another user" >&2; exit 1; }

# shellcheck source-path=SCRIPTDIR source=daemons.sh
. tests/services/daemons.sh
install faketime faketime

stop() {
    tests/services/slurm.sh stop "$SYNC_SERVICES/slurm"
    tests/services/s3.sh stop "$SYNC_SERVICES/s3"
    tests/services/docker.sh clean "$SYNC_SERVICES/docker"
    echo "Services stopped after $SECONDS s; their logs: $SYNC_SERVICES/*/log"
}
trap stop EXIT
tests/services/slurm.sh start "$SYNC_SERVICES/slurm"
tests/services/s3.sh start "$SYNC_SERVICES/s3"
echo "Services started after $SECONDS s"

export SYNC_SERVICES SYNC_REQUIRE_SERVICES=1 OMP_NUM_THREADS=1
.venv/bin/pytest -n 2 --dist loadfile -m long "$@"
