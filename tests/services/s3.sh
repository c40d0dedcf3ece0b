#!/usr/bin/env bash
# A real S3 server on one machine: Ceph (a monitor, a manager, one store in memory) and its gateway on 127.0.0.1.
#
#   s3.sh start DIR    install Debian's packages where they are absent (as root); start it unless it runs
#   s3.sh stop DIR     end all of it, also after half a start; DIR/log stays
#
# DIR/state and DIR/log are this script's own; DIR/environment holds the endpoint and a user's keys, a VARIABLE=value
# a line. What is stored is gone after a stop.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=daemons.sh
. "$(dirname "$0")/daemons.sh"

FSID=6f1a3c52-6ad5-4f0e-9c8f-0d6f3b5d2e71
MONITOR=v2:127.0.0.1:13300/0,v1:127.0.0.1:16789/0
PORT=7480

write_configuration() {
    cat >"$CEPH_CONF" <<END
[global]
fsid = $FSID
mon_host = $MONITOR
public_addr = 127.0.0.1
keyring = $STATE/keyring
run_dir = $STATE
admin_socket =
pid_file = $STATE/\$type.pid
log_file = $DIR/log/\$type.log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 1000
[mon]
mon_data = $STATE/mon
# A full disk stops the monitor; this one keeps next to nothing.
mon_data_avail_crit = 1
[mgr]
mgr_data = $STATE/mgr
mgr_initial_modules =
[osd]
osd_data = $STATE/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:$PORT tcp_nodelay=1
rgw_thread_pool_size = 32
END
}

uuid() {
    cat /proc/sys/kernel/random/uuid
}

# Each part of Ceph has a key of its own.
write_keyring() {
    local key="ceph-authtool --gen-print-key"
    cat >"$STATE/keyring" <<END
[mon.]
key = $($key)
caps mon = "allow *"
[client.admin]
key = $($key)
caps mon = "allow *"
caps osd = "allow *"
caps mgr = "allow *"
[mgr.x]
key = $($key)
caps mon = "allow profile mgr"
caps osd = "allow *"
[osd.0]
key = $($key)
caps mon = "allow profile osd"
caps osd = "allow *"
caps mgr = "allow profile osd"
[client.rgw]
key = $($key)
caps mon = "allow rw"
caps osd = "allow rwx"
caps mgr = "allow rw"
END
}

# Whoever extracts and trains in the tests.
add_user() {
    local access_key secret_key
    access_key=$(uuid) secret_key=$(uuid)
    radosgw-admin user create --uid=lab --display-name=lab \
        --access-key="$access_key" --secret-key="$secret_key" >/dev/null
    cat >"$DIR/environment" <<END
AWS_ENDPOINT_URL=http://127.0.0.1:$PORT
AWS_ALLOW_HTTP=true
AWS_REGION=us-east-1
AWS_ACCESS_KEY_ID=$access_key
AWS_SECRET_ACCESS_KEY=$secret_key
END
}

answers() {
    (: </dev/tcp/127.0.0.1/$PORT) 2>/dev/null
}

is_up() {
    runs ceph-mon "$STATE/mon.pid" && runs ceph-mgr "$STATE/mgr.pid" && runs ceph-osd "$STATE/osd.pid" &&
        runs radosgw "$STATE/client.pid" && [ -e "$DIR/environment" ]
}

start() {
    umask 077
    mkdir -p "$DIR/log" "$STATE"/{mon,mgr,osd}
    write_configuration
    write_keyring
    monmaptool --create --fsid $FSID --addv a "[$MONITOR]" "$STATE/monmap" >/dev/null
    ceph-mon -i a --mkfs --monmap "$STATE/monmap" --keyring "$STATE/keyring"
    ceph-mon -i a
    ceph --connect-timeout 30 osd new "$(uuid | tee "$STATE/osd.uuid")" >/dev/null
    ceph-osd -i 0 --mkfs --osd-uuid "$(cat "$STATE/osd.uuid")"
    ceph-osd -i 0
    ceph-mgr -i x
    add_user
    radosgw -n client.rgw
    wait_until 90 answers || { echo "error: nothing answers on port $PORT, see $DIR/log" >&2; exit 1; }
}

stop() {
    end radosgw "$STATE/client.pid"
    end ceph-mgr "$STATE/mgr.pid"
    end ceph-osd "$STATE/osd.pid"
    end ceph-mon "$STATE/mon.pid"
    rm -rf "$STATE" "$DIR/environment"
}

(($# == 2)) || usage
DIR=$(realpath -m "$2")
STATE=$DIR/state
export CEPH_CONF=$DIR/ceph.conf
case $1 in
    start)
        install radosgw radosgw ceph-mon ceph-osd ceph-mgr ceph-common
        is_up || { stop && start; }
        ;;
    stop) stop ;;
    *) usage ;;
esac
