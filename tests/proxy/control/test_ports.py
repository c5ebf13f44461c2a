"""The keys of the ports: what stands open by default."""

import ipaddress

from proxy.control.ports import Admin, Listen


def test_by_default_nobody_from_elsewhere_gets_in() -> None:
    for host in (Listen().host, Admin().host):
        assert ipaddress.ip_address(host).is_loopback
    assert not Listen().connect
