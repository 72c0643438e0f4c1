"""Where the server may connect: the policy against a list of networks, and connections that must not come about."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from cog_server.network.addresses import AddressPolicy, is_public
from cog_server.network.outgoing import AddressRefused, open_transport
from tests.fakes.webhook_receiver import WebhookReceiver, receiving

NOWHERE = AddressPolicy()
ANYWHERE = AddressPolicy.read("*")


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16"),
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1"),
        *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "::169.254.169.254", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::808:808", "2002:a9fe:a9fe::1", "2002:7f00:1::"),
        *("2001:0:808:808::f5ff:fffe", "2001:0:a9fe:a9fe::1", "2001:db8::1", "3fff::1", "fc00::1", "fd00:ec2::254"),
        *("fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "100::1", "5f00::1", "::ffff:0:7f00:1"),
    ],
)
def test_an_address_inside_is_not_public_in_whatever_form(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "168.63.129.15"),
        *("169.253.255.255", "192.0.1.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1"),
        *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
    ],
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


# The oracle: bounds as numbers, written down from the registries and not from the code.
_V4_CLOSED = [
    *((0x00000000, 0x00FFFFFF), (0x0A000000, 0x0AFFFFFF), (0x64400000, 0x647FFFFF), (0x7F000000, 0x7FFFFFFF)),
    *((0xA83F8110, 0xA83F8110), (0xA9FE0000, 0xA9FEFFFF), (0xAC100000, 0xAC1FFFFF), (0xC0000000, 0xC00000FF)),
    *((0xC0000200, 0xC00002FF), (0xC0586300, 0xC05863FF), (0xC0A80000, 0xC0A8FFFF), (0xC6120000, 0xC613FFFF)),
    *((0xC6336400, 0xC63364FF), (0xCB007100, 0xCB0071FF), (0xE0000000, 0xFFFFFFFF)),
]
_EDGES = [each + step for low, high in _V4_CLOSED for each in (low, high) for step in (-1, 0, 1)]
_NUMBERS_V4 = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([each for each in _EDGES if 0 <= each < 2**32]))


def _v4_is_open(number: int) -> bool:
    return not any(low <= number <= high for low, high in _V4_CLOSED)


@given(_NUMBERS_V4)
def test_ipv4_and_the_forms_that_wrap_it_agree_with_the_oracle(number: int) -> None:
    wrapped = (0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80 | 0xABC)

    assert is_public(ipaddress.IPv4Address(number)) == _v4_is_open(number)
    assert [is_public(ipaddress.IPv6Address(each)) for each in wrapped] == [_v4_is_open(number)] * 3
    assert not is_public(ipaddress.IPv6Address(number)), "IPv4-compatible"
    assert not is_public(ipaddress.IPv6Address(0x20010000 << 96 | number)), "Teredo"


@given(
    st.one_of(st.integers(0, 2**128 - 1), st.integers(2**125, 2**126 - 1), st.integers(0x2001 << 112, 0x2003 << 112))
)
def test_ipv6_agrees_with_the_oracle(number: int) -> None:
    first, second = number >> 112, number >> 96 & 0xFFFF
    if number >> 32 in (0xFFFF, 0x64FF9B << 64):
        expected = _v4_is_open(number & 0xFFFFFFFF)
    elif first == 0x2002:
        expected = _v4_is_open(number >> 80 & 0xFFFFFFFF)
    else:
        documentation = (first == 0x2001 and second == 0xDB8) or (first == 0x3FFF and second < 0x1000)
        expected = 0x2000 <= first <= 0x3FFF and not documentation and not (first == 0x2001 and second < 0x200)

    assert is_public(ipaddress.IPv6Address(number)) == expected


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_is_public_that_python_calls_local(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        assert not is_public(address)


@pytest.mark.parametrize(
    ("setting", "host", "port", "address", "allowed"),
    [
        ("*", "x", 80, "127.0.0.1", True),
        ("true", "x", 80, "127.0.0.1", True),
        ("", "x", 80, "127.0.0.1", False),
        ("false", "x", 80, "127.0.0.1", False),
        ("", "x", 80, "8.8.8.8", True),
        ("hook.internal", "Hook.Internal.", 80, "10.0.0.1", True),
        ("hook.internal", "hook.internal.evil", 80, "10.0.0.1", False),
        ("hook.internal:8080", "hook.internal", 8080, "10.0.0.1", True),
        ("hook.internal:8080", "hook.internal", 80, "10.0.0.1", False),
        ("a, 10.0.0.0/8 ,b", "x", 80, "10.9.9.9", True),
        ("10.0.0.0/8", "x", 80, "11.9.9.9", True),
        ("10.0.0.0/8", "x", 80, "192.168.0.1", False),
        ("10.0.0.0/8", "x", 80, "::ffff:10.1.1.1", True),
        ("10.1.1.1", "x", 80, "10.1.1.1", True),
        ("10.1.1.1", "x", 80, "10.1.1.2", False),
        ("fd00::/8", "x", 80, "fd12::1", True),
        ("::1", "localhost", 80, "::1", True),
        ("[::1]:81", "::1", 81, "::1", True),
        ("[::1]:81", "::1", 80, "::1", False),
    ],
)
def test_the_operator_opens_what_the_setting_says(
    setting: str, host: str, port: int, address: str, allowed: bool
) -> None:
    assert AddressPolicy.read(setting).allows(host, port, ipaddress.ip_address(address)) is allowed


@pytest.mark.parametrize("setting", ["http://x", "a b", "x:port", "x:70000", "10.0.0.0/99", "a,,b", "*.internal"])
def test_a_setting_that_means_nothing_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="neither a host"):
        AddressPolicy.read(setting)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with receiving() as running:
        yield running


def _post(url: str, policy: AddressPolicy, *answers: list[str]) -> int:
    """POST to `url`; the names in it have the addresses in `answers`, one list for each look-up."""
    left = iter(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return next(left)

    async def post() -> int:
        transport = open_transport(policy, resolve=resolve if answers else None)
        async with httpx.AsyncClient(transport=transport, timeout=5) as client:
            return (await client.post(url, content=b"{}")).status_code

    return asyncio.run(post())


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "0.0.0.0", "0"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    ],
)
def test_every_spelling_of_this_machine_is_refused_before_a_connection(receiver: WebhookReceiver, host: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        _post(f"http://{host}:{receiver.port}/", NOWHERE)

    # The client that named the host knows its spelling, and learns nothing else.
    assert "127.0.0.1" not in str(caught.value).replace(host.strip("[]"), "")
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["0177.0.0.1", "①②⑦.0.0.1", "127。0。0。1"])
def test_a_spelling_that_only_some_parsers_take_is_refused(receiver: WebhookReceiver, host: str) -> None:
    with pytest.raises((AddressRefused, httpx.InvalidURL)):
        _post(f"http://{host}:{receiver.port}/", NOWHERE)

    assert receiver.connections == 0


def test_one_private_address_among_public_ones_is_refused(receiver: WebhookReceiver) -> None:
    with pytest.raises(AddressRefused, match=r"multi\.test:"):
        _post(f"http://multi.test:{receiver.port}/", NOWHERE, ["93.184.216.34", "127.0.0.1"])

    assert receiver.connections == 0


def test_a_name_is_resolved_once_and_the_connection_goes_to_the_checked_address(receiver: WebhookReceiver) -> None:
    # A second look-up would find no answer.
    assert _post(f"http://rebinding.test:{receiver.port}/x", ANYWHERE, ["127.0.0.1"]) == 200
    assert receiver.calls[0].headers["host"] == f"rebinding.test:{receiver.port}"


def test_the_next_address_is_taken_where_one_does_not_answer(receiver: WebhookReceiver) -> None:
    assert _post(f"http://two.test:{receiver.port}/", ANYWHERE, ["127.0.0.9", "127.0.0.1"]) == 200


def test_a_name_that_nobody_knows_is_a_connection_that_fails() -> None:
    with pytest.raises(httpx.ConnectError, match="not known"):
        _post("http://nowhere.invalid/", NOWHERE)


def test_with_a_proxy_the_proxy_is_asked_and_not_the_policy(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", receiver.url("/"))
    monkeypatch.setenv("no_proxy", "direct.test")

    assert _post("http://hook.test/x", NOWHERE) == 200
    assert receiver.calls[0].path == "http://hook.test/x"
    with pytest.raises(AddressRefused):
        _post(f"http://direct.test:{receiver.port}/", NOWHERE, ["127.0.0.1"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own authority for `right.test`, with its key."""
    path = tmp_path_factory.mktemp("tls") / "right.pem"
    authority = trustme.CA()
    authority.issue_cert("right.test").private_key_and_cert_chain_pem.write_to_path(path)
    authority.cert_pem.write_to_path(path, append=True)
    return path


@pytest.fixture
def tls_receiver(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookReceiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with receiving(tls=context) as running:
        yield running


def test_tls_asks_for_the_name_and_not_for_the_address(tls_receiver: WebhookReceiver) -> None:
    assert _post(f"https://right.test:{tls_receiver.port}/", ANYWHERE, ["127.0.0.1"]) == 200


@pytest.mark.parametrize("host", ["wrong.test", "127.0.0.1"])
def test_tls_with_another_name_in_the_certificate_is_refused(tls_receiver: WebhookReceiver, host: str) -> None:
    with pytest.raises(httpx.ConnectError, match="certificate"):
        _post(f"https://{host}:{tls_receiver.port}/", ANYWHERE, ["127.0.0.1"])

    assert tls_receiver.calls == []


def test_tls_of_an_unknown_authority_is_refused(tls_receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    with pytest.raises(httpx.ConnectError, match="certificate"):
        _post(f"https://right.test:{tls_receiver.port}/", ANYWHERE, ["127.0.0.1"])


def test_a_name_server_that_does_not_answer_ends_with_the_connection_timeout() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    async def post() -> None:
        async with httpx.AsyncClient(transport=open_transport(ANYWHERE, resolve=resolve), timeout=0.1) as client:
            await client.post("http://slow.test/")

    with pytest.raises(httpx.ConnectTimeout):
        asyncio.run(post())


def test_the_system_resolver_is_asked_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    assert socket.getaddrinfo("localhost", 1), "this machine knows itself"

    async def post() -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with httpx.AsyncClient(transport=open_transport(NOWHERE), timeout=5) as client:
            calls = [client.post(f"http://localhost:{port}/") for port in range(1, 100)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, AddressRefused) for answer in answers)
        return loop.time() - started

    assert asyncio.run(post()) < 5
