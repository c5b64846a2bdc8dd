"""Network addresses: the customer that an address belongs to."""

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=10_000)
def customer_of(address: str | None) -> str:
    """Return the customer of an address: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(found), _IPV6_CUSTOMER), strict=False).network_address)
    return str(found)


_IPV6_CUSTOMER = 64  # bits
