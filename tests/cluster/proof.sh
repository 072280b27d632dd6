# Shared by prove and disrupt, which tests/cluster/in runs: what is asked of the cluster of the current context, and of
# vpn-a before it.
# shellcheck shell=bash

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# What is kept between the steps.
proof=${L34_CLUSTER:-${TMPDIR:-/tmp}/l34-cluster}/proof
mkdir -p "$proof"
limit=120
# Of a chart and images that are older than what is installed: tests/cluster/run tags them.
older=0.0.1

app=example-target-application-a
# Of examples/dual-stack.yaml: the Service without affinity, by both families.
vip4=20.0.0.22 vip6=2000::22 port=4001

good() { printf '  ok  %s\n' "$*"; }
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# until_true WHAT COMMAND...
until_true() {
    local what=$1 end=$((SECONDS + limit))
    until "${@:2}"; do
        [ $SECONDS -lt $end ] || fail "not within $limit s: $what"
        sleep 0.2
    done
    good "$what"
}

vpn() { docker exec vpn-a "$@"; }

# A host behind vpn-a. Not vpn-a itself: the kernel gives its own sockets another way through equal routes than their packets
# without a socket, such as the last acknowledgement, which would be lost at the other gateway (Linux 6.18). What it forwards
# goes one way.
client() { vpn ip netns exec client "$@"; }
client_is_there() {
    # shellcheck disable=SC2016 # for the inner shell
    vpn sh -ec '
        [ ! -e /run/netns/client ] || exit 0
        ip netns add client
        ip link add client type veth peer name eth0 netns client
        ip address add 192.0.2.1/24 dev client
        ip address add 2001:db8::1/64 dev client nodad
        ip link set client up
        in="ip netns exec client"
        $in ip address add 192.0.2.2/24 dev eth0
        $in ip address add 2001:db8::2/64 dev eth0 nodad
        $in ip link set lo up
        $in ip link set eth0 up
        $in ip route add default via 192.0.2.1
        $in ip route add default via 2001:db8::1'
}

# over_every_gateway GATEWAY VIP...: vpn-a reaches each VIP over as many gateways as there are nodes.
over_every_gateway() {
    local gateways vip family
    gateways=$(kubectl get "daemonset/l34-$1" -o 'jsonpath={.status.desiredNumberScheduled}') || return 1
    [ "${gateways:-0}" -gt 0 ] || return 1
    for vip in "${@:2}"; do
        case $vip in *:*) family=-6 ;; *) family=-4 ;; esac
        [ "$(vpn birdc show route for "$vip" | grep -cw via)" -eq "$gateways" ] || return 1
        # Bird's kernel has it a moment later.
        [ "$(vpn ip $family route show "$vip" | grep -cw via)" -eq "$gateways" ] || return 1
    done
}

no_pods() { [ -z "$(kubectl get pods -l "$1" -o name)" ]; }
