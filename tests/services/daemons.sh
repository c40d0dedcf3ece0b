# Functions that slurm.sh and s3.sh share; daemons are known by the files in which they write their process's number.
# shellcheck shell=bash

# Print the comment at the top of the calling script.
usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

# install COMMAND PACKAGE...: install Debian's packages unless the command is there.
install() {
    command -v "$1" >/dev/null && return
    shift
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "error: install these packages of Debian as root: $*" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# runs NAME FILE: whether the process whose number is in a file runs.
runs() {
    is "$1" "$(cat "$2" 2>/dev/null)"
}

# is NAME PROCESS: whether a process is there, no zombie, and no other program's by now.
is() {
    grep -qs "^$2 ($1) [^Z]" "/proc/$2/stat"
}

# end NAME FILE: SIGTERM, and SIGKILL after 10 seconds. Daemons delete the file before they have ended.
end() {
    local process
    process=$(cat "$2" 2>/dev/null) && is "$1" "$process" || return 0
    kill "$process"
    wait_until 10 not is "$1" "$process" || kill -KILL "$process"
}

not() {
    ! "$@"
}

# wait_until SECONDS COMMAND...: repeat a command until it succeeds.
wait_until() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS <= until)) || return 1
        sleep 0.1
    done
}
