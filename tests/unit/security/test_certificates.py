"""An authority of one machine: what it signs is trusted, and its keys are its user's alone."""

import ssl
import stat
from pathlib import Path

from headrace.security.certificates import Authority


def test_what_it_signs_is_trusted_by_whoever_trusts_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "a")
    pair = authority.pair("server")
    context = ssl.create_default_context(cafile=authority.file)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.key)
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(ours, theirs, server_hostname="127.0.0.1")
    other = server.wrap_bio(theirs, ours, server_side=True)
    done = set[int]()
    while len(done) < 2:
        for side in (client, other):
            try:
                side.do_handshake()
                done.add(id(side))
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert()["subject"][0][0] == ("commonName", "server")  # type: ignore[index]


def test_keys_can_be_read_by_their_user_only(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "a")
    authority.pair("server")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    for file in (tmp_path / "a").iterdir():
        assert not file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), file


def test_it_is_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    first = Authority(tmp_path / "a")
    certificate = first.pair("server").certificate.read_bytes()
    again = Authority(tmp_path / "a")
    assert again.file.read_bytes() == first.file.read_bytes()
    assert again.pair("server").certificate.read_bytes() == certificate
    assert again.pair("other").certificate.read_bytes() != certificate
