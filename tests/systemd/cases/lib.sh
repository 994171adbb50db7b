# shellcheck shell=bash
# What the cases share: sourced by each of them as its first act.
#
#   . "${0%/*}/lib.sh"
#
# A case is a bash script NN-name beside this file. In its head it says `# needs: nothing`,
# `# needs: memory-controller` or `# needs: own-kernel`, and `# limit: SECONDS` if 120 are too few. It begins with
# `fresh` and ends with status 0 if everything was as expected. What it prints is shown when it fails; a line
# `note: ...` always.
#
# From outside come DEB (the package), BED (container, vm or autopkgtest), SLOWER (a factor on all limits: an
# emulated processor is ten times slower) and CASES_OUT.
set -eu -o pipefail

: "${DEB:?}" "${BED:=autopkgtest}" "${SLOWER:=3}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
jobs_of_case=()

# shellcheck disable=SC2317
leave_case() {
    local status=$? pid
    for pid in "${jobs_of_case[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    rm -rf "$scratch"
    ((status == 0)) || echo "the case ends with status $status"
}
trap leave_case EXIT
trap 'echo "line $LINENO of ${0##*/}: status $? of: $BASH_COMMAND"' ERR

# An emulated processor is ten times slower.
emulated() { ((SLOWER > 5)); }
pause=0.1
! emulated || pause=1

note() { echo "note: $*"; }
step() { echo "== $*"; }

# fail WHAT [EXPECTED SEEN]
fail() {
    echo "FAILED: $1"
    (($# < 2)) || printf '  expected: %s\n  seen:     %s\n' "$2" "$3"
    exit 1
}

# expect_equal WHAT EXPECTED SEEN
expect_equal() { [[ $3 == "$2" ]] || fail "$@"; }
# expect_match WHAT REGEX SEEN
expect_match() { [[ $3 =~ $2 ]] || fail "$1" "something that matches $2" "$3"; }
# expect_empty WHAT SEEN
expect_empty() { [[ -z $2 ]] || fail "$1" "nothing" "$2"; }
# expect_at_most WHAT LIMIT SEEN
expect_at_most() { (($3 <= $2)) || fail "$1" "at most $2" "$3"; }
# expect_at_least WHAT LIMIT SEEN
expect_at_least() { (($3 >= $2)) || fail "$1" "at least $2" "$3"; }
# expect_file PATH... : each is there and not empty
expect_file() { local path; for path; do [[ -s $path ]] || fail "a file" "$path" "$(ls -ld "$path" 2>&1)"; done; }
# expect_status WHAT STATUS COMMAND... ; its output is in $output
expect_status() {
    local what=$1 expected=$2 status=0
    shift 2
    output=$("$@" 2>&1) || status=$?
    ((status == expected)) || fail "$what ($*)" "status $expected" "status $status, and it said: $output"
}

# wait_until SECONDS WHAT COMMAND... : SECONDS times SLOWER is the limit, not the time it should take
wait_until() {
    local limit=$(($1 * SLOWER)) what=$2 began=$SECONDS
    shift 2
    until "$@" >"$scratch/last" 2>&1; do
        ((SECONDS - began < limit)) ||
            fail "waited $limit s for: $what" "status 0 of: $*" "$(tail -n 5 "$scratch/last")"
        # Looking takes an emulated processor's time away from what is waited for.
        sleep "$pause"
    done
}

# prop NAME [UNIT]: a property of the unit, as systemd sees it
prop() { systemctl show --property="$1" --value "${2:-mainstay.service}"; }
is_prop() { [[ $(prop "$1") == "$2" ]]; }

# http_get PATH: the body of a 200; otherwise the status line, and status 1
http_get() {
    timeout "$((10 * SLOWER))" bash -c '
        exec 3<>/dev/tcp/127.0.0.1/8000
        printf "GET %s HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n\r\n" "$1" >&3
        IFS= read -r first <&3
        first=${first%$'"'\\r'"'}
        [[ $first == "HTTP/1.1 200 "* ]] || { echo "$first"; exit 1; }
        while IFS= read -r line <&3 && [[ $line != $'"'\\r'"' ]]; do :; done
        cat <&3
    ' http_get "$1"
}
serving() { http_get /health | grep -q '"status"'; }
wait_served() { wait_until 30 "GET /health answers 200" serving; }

# mcp call|loop ...: see the file
mcp() { python3 "$here/mcp" "$@"; }

# journal [JOURNALCTL-ARGUMENT...]: of the unit since mark_journal, by which a case begins. By time, because
# journalctl 252 leaves out the first match after a cursor.
journal() { journalctl --quiet --no-pager --since="@$journal_mark" --unit=mainstay.service "$@"; }
mark_journal() { sync_journal; journal_mark=$(date +%s.%N); }
# What was logged until now can be read.
sync_journal() { journalctl --sync >/dev/null 2>&1 || true; }

# leftovers: processes and cgroups of a mainstay that should be gone
leftovers() {
    { pgrep -u mainstay -a || true; pgrep -a -x 'mainstayd|mainstayctl' || true; } 2>/dev/null | sed 's/^/process /'
    find /sys/fs/cgroup -name 'mainstay*' ! -name 'mainstay-cases.service' ! -name 'mainstay-test*' \
        ! -name '*.socket' 2>/dev/null | sed 's/^/cgroup /'
}
nothing_left() { [[ -z $(leftovers) ]]; }

# stop_all: the service and what would start it again
stop_all() { systemctl stop mainstay.socket mainstay-control.socket mainstay.service; }

# purge: whatever an earlier case left
purge() {
    rm -rf /etc/systemd/system/mainstay*.d /run/systemd/system/mainstay*.d
    systemctl daemon-reload
    if dpkg-query -W mainstay >/dev/null 2>&1; then
        dpkg --purge mainstay
    fi
    rm -rf /etc/mainstay /var/lib/mainstay /var/cache/mainstay
}

# install_package PATH
install_package() { dpkg -i "$1"; }

# What a fresh installation has in /etc/mainstay; kept by the first case for the others.
etc=/var/tmp/case-etc.tar

# as_installed: puts an untouched installation of DEB back into its first state, which is much quicker than purging
# and installing; status 1 if there is none
as_installed() {
    local version unit
    version=$(dpkg-query -W -f '${db:Status-Status} ${Version}' mainstay 2>/dev/null) || return 1
    [[ -f $etc && $version == "installed $(dpkg-deb -f "$DEB" Version)" && -z $(dpkg --verify mainstay | grep -v ' c ') ]] ||
        return 1
    for unit in mainstay.service mainstay.socket mainstay-control.socket; do
        systemctl is-enabled --quiet "$unit" || return 1
    done
    stop_all
    rm -rf /etc/systemd/system/mainstay*.d /run/systemd/system/mainstay*.d \
        /etc/mainstay /var/lib/mainstay/* /var/cache/mainstay/*
    tar -xpf "$etc" -C /
    systemctl daemon-reload
    systemctl reset-failed 'mainstay*'
    systemctl start mainstay.socket mainstay-control.socket mainstay.service
}

# fresh: the known state that each case begins with: just installed, nothing configured, serving
fresh() {
    step "a fresh installation"
    mark_journal
    if ! as_installed >"$scratch/fresh" 2>&1; then
        purge >"$scratch/fresh" 2>&1 || fail "purging what was there" "status 0" "$(<"$scratch/fresh")"
        install_package "$DEB" >"$scratch/fresh" 2>&1 ||
            fail "installing $DEB" "status 0" "$(<"$scratch/fresh")"
        tar -cpf "$etc" -C / etc/mainstay
    fi
    mark_journal
    wait_served
}

# configure TEXT: servers.d/case.toml; the service has to be told
configure() { printf '%s\n' "$1" >/etc/mainstay/servers.d/case.toml; }

# install_worker: the worker that misbehaves (see the file), where the fence lets a worker be started from
install_worker() { install -m 755 "$here/worker" /usr/local/lib/case-worker; }

# newer_package: prints the path of the same package with a higher version
newer_package() {
    local tree=$scratch/newer path=$scratch/mainstay-newer.deb version
    rm -rf "$tree"
    dpkg-deb -R "$DEB" "$tree"
    version=$(sed -n 's/^Version: //p' "$tree/DEBIAN/control")
    sed -i "s/^Version: .*/Version: $version+newer1/" "$tree/DEBIAN/control"
    dpkg-deb -Znone --root-owner-group -b "$tree" "$path" >/dev/null
    rm -rf "$tree"
    echo "$path"
}

# A hundred connections a second would be all that an emulated processor does.
interval=10
! emulated || interval=100

# clients_start: a client that connects every 10 ms (emulated: 100 ms) until clients_stop, which sets connections,
# answered, refused, reset, unanswered, late and longest (ms)
clients_start() {
    python3 "$here/connect_loop" "$((30 * SLOWER))" "$interval" >"$scratch/clients" 2>"$scratch/clients.err" &
    clients=$!
    jobs_of_case+=("$clients")
    wait_until 30 "the first answer to the connecting client" grep -q started "$scratch/clients"
}
clients_stop() {
    local word
    kill -TERM "$clients"
    wait "$clients" || fail "the connecting client" "status 0" "$(<"$scratch/clients.err")"
    connections=0 answered=0 refused=0 reset=0 unanswered=0 late=0 longest=0
    for word in $(tail -n 1 "$scratch/clients"); do printf -v "${word%%=*}" '%s' "${word#*=}"; done
    echo "the connecting client: $(tail -n 1 "$scratch/clients")"
    expect_at_least "connections made while it happened (the client must not have slept through it)" 10 "$connections"
}
