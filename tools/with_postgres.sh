#!/usr/bin/env bash
# Run a command with a throw-away PostgreSQL server: tools/with_postgres.sh COMMAND [ARGUMENT...]
#
# The command finds the server's URL in NISQKIT_POSTGRES_URL; NISQKIT_NO_SKIP=1 makes tests that need
# it fail instead of being skipped. PostgreSQL is installed from Debian's packages if there is none.
# The server listens on a socket in a temporary folder only, so it disturbs nobody, and both are gone
# afterwards.
set -euo pipefail
if [ $# -eq 0 ]; then
    echo "usage: tools/with_postgres.sh COMMAND [ARGUMENT...]" >&2
    exit 2
fi

find_programs() { # Debian keeps them out of PATH
    programs=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
    if [ -z "$programs" ] && command -v pg_ctl >/dev/null; then
        programs=$(dirname "$(command -v pg_ctl)")
    fi
    [ -n "$programs" ] && [ -x "$programs/initdb" ]
}

if ! find_programs; then
    echo "with_postgres: installing PostgreSQL" >&2
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qq -y --no-install-recommends \
        postgresql >&2
    find_programs || { echo "with_postgres: there is still no PostgreSQL" >&2; exit 1; }
fi

folder=$(mktemp -d /tmp/nisqkit-postgres.XXXXXX)
as_owner=()
if [ "$(id -u)" -eq 0 ]; then # PostgreSQL refuses to run as root
    owner=postgres
    id "$owner" >/dev/null 2>&1 || owner=nobody
    chown "$owner" "$folder"
    as_owner=(runuser -u "$owner" --)
fi
stop() {
    (cd / && "${as_owner[@]}" "$programs/pg_ctl" -D "$folder/data" -m immediate stop) \
        >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT TERM

# The owner may not be allowed to see the folder in which this was called.
(
    cd /
    "${as_owner[@]}" "$programs/initdb" -D "$folder/data" -U nisqkit -A trust -E UTF8 --no-sync
    "${as_owner[@]}" "$programs/pg_ctl" -D "$folder/data" -l "$folder/log" -w -t 60 \
        -o "-c listen_addresses='' -c unix_socket_directories='$folder' -c fsync=off" start
) >"$folder.out" 2>&1 || {
    cat "$folder.out" "$folder/log" >&2 || true
    rm -f "$folder.out"
    exit 1
}
rm -f "$folder.out"
chmod 755 "$folder" # the socket is for the command, whoever runs it

export NISQKIT_POSTGRES_URL="postgresql://nisqkit@/postgres?host=$folder"
export NISQKIT_NO_SKIP=1
"$@"
