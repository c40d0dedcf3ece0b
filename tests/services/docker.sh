#!/usr/bin/env bash
# Both images of the Dockerfile, built and run without Docker: by buildah, in folders and chroots, on a stand-in for the
# base image that Debian's packages make. A processor's torch will do; pip fetches what this machine's pip would.
#
#   docker.sh build DIR                        installs Debian's packages where they are absent, builds all; as root
#   docker.sh run DIR IMAGE PROJECT ARGUMENT…  the image's entry point and user, PROJECT mounted at /project
#   docker.sh slurm DIR IMAGE PROJECT COMMAND… as Slurm's containers run it: as a user whom the image doesn't know, all
#                                              read-only but /project and /tmp, without HOME, and without a network
#   docker.sh clean DIR                        deletes all of it, also after half a build
#
# IMAGE is extract or train. All lies in DIR, images too, and DIR in memory, of which it takes up to 4.1 GB: deleting
# that many small files took minutes on a disk. PYTHON names the interpreter whose pip is asked.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BASE=$(sed -n 's/^ARG BASE=//p' "$ROOT/Dockerfile")
STRANGER=4321

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

install_packages() {
    [ "$(id -u)" = 0 ] || { echo "error: chroots and mounts need root" >&2; exit 1; }
    command -v buildah mmdebstrap >/dev/null && return
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends buildah mmdebstrap
}

images() {
    TMPDIR=$DIR/tmp buildah --storage-driver overlay --root "$DIR/images" --runroot "$DIR/running" "$@"
}

# What python:3.11-slim has, with Debian's own Python 3.11: a minimal system in which pip may install.
build_base() {
    local container folder
    container=$(images from scratch)
    folder=$(images mount "$container")
    mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
        --include=ca-certificates,netbase,tzdata,python3,python3-pip bookworm "$folder"
    ln -s python3 "$folder/usr/bin/python"
    rm "$folder/usr/lib/python3.11/EXTERNALLY-MANAGED"
    images commit --quiet --rm "$container" "docker.io/library/$BASE"
}

# Options that give pip in the image the settings of this machine's pip, and the files and folders that these name.
pip_mounts() {
    local word
    "${PYTHON:-python3}" -m pip config list | sed -nE "s/\\\\n/ /g; s/^(:env:|global)\.([a-z-]+)='(.*)'$/\1 \2 = \3/p" |
        sort | awk 'BEGIN { print "[global]" } !seen[$2]++ { sub(/^[^ ]+ /, ""); print }' >"$DIR/pip.conf"
    echo "--volume=$DIR/pip.conf:/etc/pip.conf:ro"
    sed 's/.* = //' "$DIR/pip.conf" | xargs -n 1 | while read -r word; do
        case $word in
            file:///*) word=$(dirname "${word#file://}") ;; # an index refers to files beside it
        esac
        [ "${word#/}" = "$word" ] || [ ! -e "$word" ] || echo "--volume=$word:$word:ro"
    done | sort -u
}

build() {
    local stage mounts
    install_packages
    mkdir -p "$DIR"
    mount -t tmpfs -o size=6g tmpfs "$DIR"
    mkdir "$DIR/tmp"
    build_base
    pip_mounts >"$DIR/mounts"
    mapfile -t mounts <"$DIR/mounts"
    for stage in train extract; do
        images bud --quiet --layers --isolation chroot --pull-never "${mounts[@]}" \
            --target "$stage" --tag "$stage" "$ROOT"
        images from --quiet --pull-never --name "$stage" "localhost/$stage" >/dev/null
    done
    echo "Built in $SECONDS s:"
    images images --noheading --format '{{.Name}} {{.Size}}' | grep ^localhost/
}

run() {
    local entry
    entry=$(images inspect --format '{{index .OCIv1.Config.Entrypoint 0}}' "$IMAGE")
    images run --isolation chroot --volume "$PROJECT:/project" "$IMAGE" -- "$entry" "$@"
}

slurm() {
    local folder variables
    folder=$(images mount "$IMAGE")
    mapfile -t variables < <(
        images inspect --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "$IMAGE" | grep .
    )
    # shellcheck disable=SC2016  # what these are is for the inner shell to say
    unshare --mount --net bash -euc '
        folder=$1 project=$2 stranger=$3; shift 3
        mount --bind "$folder" "$folder"
        mount --bind "$project" "$folder/project"
        mount --rbind /dev "$folder/dev"
        mount -t proc proc "$folder/proc"
        mount -t tmpfs tmpfs "$folder/tmp"
        mount -o remount,bind,ro "$folder"
        exec chroot --userspec="$stranger:$stranger" "$folder" env -i --chdir=/project "$@"
    ' - "$folder" "$PROJECT" "$STRANGER" "${variables[@]}" "$@"
}

clean() {
    ! mountpoint --quiet "$DIR" || umount --recursive "$DIR"
    rm -rf "$DIR"
}

[ $# -ge 2 ] || usage
DIR=$(realpath -m "$2")
case $1 in
    build | clean) "$1" ;;
    run | slurm)
        [ $# -ge 5 ] || usage
        action=$1 IMAGE=$3 PROJECT=$(realpath "$4")
        shift 4
        "$action" "$@"
        ;;
    *) usage ;;
esac
