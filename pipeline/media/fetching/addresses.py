"""Which addresses may be connected to, decided on the very address that the socket then connects to.

A name is resolved once, every answer is checked, and the connection goes to a checked answer; so a name server that
answers differently the second time (DNS rebinding) gains nothing. Redirects come through here like first requests.
"""

import ipaddress
import socket
import threading
from collections.abc import Collection
from typing import Any

from pipeline.media.fetching.errors import FetchError
from pipeline.workers.awake import awake
from schemas.reasons import Reason

# An address of these networks carries an IPv4 address that the packets end up at.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, wherever it is wrapped in another."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64 or int(ip) >> 32 == 0:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.teredo is not None:
            return False
        if embedded is not None:
            return is_public(str(embedded))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def is_allowed(host: str, port: int, allow_private_hosts: Collection[str]) -> bool:
    """Whether a host may be at any address; `allow_private_hosts` holds `host:port`."""
    name = f"[{host}]" if ":" in host else host
    return f"{name.lower()}:{port}" in {allowed.lower() for allowed in allow_private_hosts}


def connect(
    host: str, port: int, *, allow_private_hosts: Collection[str], timeout_s: float, deadline: float
) -> socket.socket:
    """A connected socket. Raises FetchError."""
    answers = _resolve(host, port, deadline)
    if not is_allowed(host, port, allow_private_hosts):
        answers = [answer for answer in answers if is_public(answer[4][0])]
        if not answers:
            raise FetchError(Reason.PRIVATE_ADDRESS, f"{host}:{port} is at no public address")
    failure: OSError | None = None
    for family, kind, protocol, _, address in answers:
        left_s = min(timeout_s, deadline - awake())
        if left_s <= 0:
            break
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left_s)
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    if failure is None or isinstance(failure, TimeoutError):
        raise FetchError(Reason.FETCH_TIMEOUT, f"{host}:{port} does not answer")
    raise FetchError(Reason.CONNECTION_FAILED, f"{host}:{port}: {failure.strerror or failure}") from failure


def _resolve(host: str, port: int, deadline: float) -> list[Any]:
    """`getaddrinfo` with a deadline, which it does not have itself; a late answer is dropped."""
    answers: list[Any] = []
    failures: list[OSError] = []

    def ask() -> None:
        try:
            answers.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            failures.append(error)
        except UnicodeError:
            failures.append(OSError("not a host name"))

    thread = threading.Thread(target=ask, daemon=True, name="resolve")
    thread.start()
    thread.join(max(0.0, deadline - awake()))
    if thread.is_alive():
        raise FetchError(Reason.NAME_NOT_RESOLVED, f"{host}: the name server does not answer")
    if failures or not answers:
        raise FetchError(Reason.NAME_NOT_RESOLVED, f"{host}: {failures[0] if failures else 'no address'}")
    return answers
