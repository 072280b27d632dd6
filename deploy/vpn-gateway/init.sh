#!/bin/sh
# Makes this container the router of an outside network, the one of a VLAN, and becomes its bird.
#
#   /init.sh VLAN-ID
#
# Settings, from the environment:
#   VPN_INTERFACE   on which the VLAN is (eth0)
#   VPN_VLAN        yes: an interface vlan1 for the VLAN on it. no: the interface itself; for kernels without 8021q, where
#                   each network is an interface (or a bridge) of its own
set -eu

id=${1:?usage: /init.sh VLAN-ID}
interface=${VPN_INTERFACE:-eth0}

main() {
    ip link show "$interface" >/dev/null || fail "there is no interface $interface: see VPN_INTERFACE"
    settings
    outside=$interface
    [ "${VPN_VLAN:-yes}" = no ] || vlan
    # The router of this network, and addresses that traffic may come from (mconnect -srccidr).
    ip address replace 169.254.100.150/24 dev "$outside"
    ip address replace 200.100.0.100/32 dev "$outside"
    ip address replace 100:100::150/64 dev "$outside" nodad
    ip address replace 200:100::100/128 dev "$outside" nodad
    mkdir -p /run/bird
    exec bird -f -c /etc/bird/bird.conf
}

fail() {
    echo "init.sh: $*" >&2
    exit 1
}

settings() {
    # Docker switches IPv6 off where its network has none.
    for setting in net.ipv6.conf.all.disable_ipv6=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
        net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1; do
        sysctl -q -w "$setting" || fail "cannot set $setting: the container has to be privileged"
    done
    # Nothing completes a checksum between this interface and the pods behind the nodes' VLANs.
    ethtool -K "$interface" tx off >/dev/null || echo "init.sh: checksum offload of $interface stays on" >&2
}

vlan() {
    [ -e /sys/class/net/vlan1 ] || ip link add link "$interface" name vlan1 type vlan id "$id" ||
        fail "no VLAN on $interface: does the kernel have 8021q? VPN_VLAN=no does without"
    ip link set vlan1 up
    outside=vlan1
}

main
