# Shared by the scripts of this folder: where the cluster is, and the namespaces that its parts live in.
# shellcheck shell=bash disable=SC2034 # used by those that read this

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${L34_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/l34-kubernetes}/bin

# Everything of a running cluster is below this folder, or ends with the processes that it names.
state=${L34_CLUSTER:-${TMPDIR:-/tmp}/l34-cluster}
nodes=$(cat "$state/nodes" 2>/dev/null || echo "${L34_NODES:-2}")
# One switch for each outside network: not every kernel has 8021q, and a VLAN is a network of its own anyway.
outside_networks="vlan-100 vlan-200 vlan-300"
# Before the names of cgroups, which are the machine's.
id=l34-$(printf %s "$state" | sha256sum | cut -c1-8)

api=10.90.0.1
node_address() { echo "10.90.0.$((10 + $1))"; }
pods=10.244.0.0/16
services=10.96.0.0/16
pod_subnet() { echo "10.244.$1.0/24"; }

started=$(date +%s%N)
say() { printf '%6d ms  %s\n' "$((($(date +%s%N) - started) / 1000000))" "$*"; }
die() {
    echo "tests/cluster: $*" >&2
    exit 1
}

# place NAME [OTHER]: mount and pid namespaces that live as long as their first process, with a network of their own or
# the one of another place.
place() {
    local folder=$state/$1 outer inner network=(unshare --net)
    [ -z "${2:-}" ] || network=(nsenter --target "$(process_of "$2")" --net)
    mkdir -p "$folder/log"
    setsid "${network[@]}" unshare --mount --pid --fork --mount-proc "$state/init" </dev/null >"$folder/log/place" 2>&1 &
    outer=$!
    disown
    for _ in $(seq 200); do
        inner=$(cut -d' ' -f1 "/proc/$outer/task/$outer/children" 2>/dev/null) || true
        [ -z "$inner" ] || [ "$(cat "/proc/$inner/comm" 2>/dev/null)" != init ] || break
        sleep 0.02
    done
    [ -n "$inner" ] || die "no namespaces for $1: $(cat "$folder/log/place")"
    echo "$inner $(born "$inner")" >"$folder/process"
}

# When a process was started: its id alone may be another's by now.
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

process_of() { cut -d' ' -f1 "$state/$1/process"; }

is_up() {
    local process time
    read -r process time 2>/dev/null <"$state/$1/process" && [ "$(born "$process")" = "$time" ]
}

# inside NAME COMMAND...: in all of its namespaces. on NAME COMMAND...: in its network, with this machine's files.
inside() { nsenter --target "$(process_of "$1")" --mount --net --pid -- "${@:2}"; }
on() { nsenter --target "$(process_of "$1")" --net -- "${@:2}"; }

# daemon PLACE NAME COMMAND...: in the background; its log is PLACE/log/NAME.
daemon() {
    # shellcheck disable=SC2016 # for the inner shell
    inside "$1" bash -c 'log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null &' - "$state/$1/log/$2" "${@:3}"
}

# within SECONDS WHAT COMMAND...
within() {
    local end=$((SECONDS + $1)) what=$2
    until "${@:3}" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || die "not within $1 s: $what (logs: $state/*/log)"
        sleep 0.1
    done
}

kube() { on fabric "$bin/kubectl" --kubeconfig "$state/kubeconfig" "$@"; }
node_names() { seq -f node%g "$(cat "$state/nodes")"; }
cgroup_roots() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }

# A cgroup for each part that makes its own below: in each hierarchy of version 1, or in the one of version 2.
make_cgroups() {
    local root file
    for root in $(cgroup_roots); do
        [ ! -s "$root/cgroup.controllers" ] ||
            sed 's/^/+/; s/ / +/g' "$root/cgroup.controllers" >"$root/cgroup.subtree_control" || true
        mkdir -p "$root/$id-$1"
        for file in cpuset.cpus cpuset.mems; do
            [ ! -s "$root/$file" ] || cat "$root/$file" >"$root/$id-$1/$file"
        done
    done
}

# remove_cgroups PATTERN: of parts whose names match.
remove_cgroups() {
    local root group
    for root in $(cgroup_roots); do
        # shellcheck disable=SC2086 # a pattern
        for group in "$root/$id"-$1; do
            [ -d "$group" ] || continue
            for _ in $(seq 20); do
                find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
                [ -d "$group" ] || break
                sleep 0.1
            done
            [ ! -d "$group" ] || echo "still there: $group" >&2
        done
    done
}

# A bridge passes frames on; whether they may pass is nobody's business.
switches_only() {
    [ ! -d /proc/sys/net/bridge ] || on "$1" sysctl -q -w net.bridge.bridge-nf-call-iptables=0 \
        net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
}
