"""What TLS stands on: every flaw of the files, all at once; and what the contexts demand."""

import ssl
from pathlib import Path

import pytest

from proxy.control.tls import (
    BackendTls,
    Flaw,
    ListenTls,
    TlsError,
    Version,
    client_context,
    flaws,
    server_context,
)
from tests.certificates import Certificates, Pair


def listen(pair: Pair, **more: str) -> ListenTls:
    return ListenTls(certificate_file=pair.certificate, key_file=pair.key, **more)  # type: ignore[arg-type]


def test_nothing_given_is_nothing_wrong() -> None:
    assert flaws(ListenTls()) == flaws(BackendTls()) == ()


def test_files_that_fit_are_good(certificates: Certificates, tmp_path: Path) -> None:
    pair = certificates.server
    both = tmp_path / "both.pem"
    both.write_text(Path(pair.key).read_text() + Path(pair.certificate).read_text())
    assert flaws(listen(pair, client_ca_file=certificates.ca)) == ()
    assert flaws(ListenTls(certificate_file=str(both))) == ()
    assert flaws(BackendTls(ca_file=certificates.ca, certificate_file=str(both))) == ()


def test_every_file_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    missing = "cannot be read: No such file or directory"
    table = ListenTls(certificate_file="/no/c", key_file="/no/k", client_ca_file="/no/ca")
    assert flaws(table) == (
        Flaw(key="client_ca_file", value="/no/ca", allowed=missing),
        Flaw(key="certificate_file", value="/no/c", allowed=missing),
        Flaw(key="key_file", value="/no/k", allowed=missing),
    )
    (tmp_path / "empty").write_text("")
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "empty", "it is empty")):
        (flaw,) = flaws(BackendTls(ca_file=str(path)))
        assert flaw.allowed == f"cannot be read: {why}"


def test_what_does_not_fit_is_told_by_its_key(certificates: Certificates, tmp_path: Path) -> None:
    good, other = certificates.server, certificates.client
    junk = tmp_path / "junk"
    junk.write_text("hello")
    cases: list[tuple[ListenTls | BackendTls, str, str]] = [
        (
            listen(Pair(good.certificate, other.key)),
            "key_file",
            "must be the key of certificate_file",
        ),
        (listen(Pair(good.certificate, str(junk))), "key_file", "must hold a key"),
        (listen(Pair(good.certificate, "")), "certificate_file", "must hold a key"),
        (listen(Pair(str(junk), good.key)), "certificate_file", "must hold a certificate"),
        (
            listen(Pair(good.certificate, certificates.encrypted_key)),
            "key_file",
            "without a password",
        ),
        (listen(good, client_ca_file=str(junk)), "client_ca_file", "must hold certificates"),
        (listen(good, client_ca_file=good.key), "client_ca_file", "must hold certificates"),
        (BackendTls(key_file=good.key), "key_file", "needs certificate_file"),
        (ListenTls(key_file=good.key), "key_file", "needs certificate_file"),
        (ListenTls(client_ca_file=certificates.ca), "client_ca_file", "needs certificate_file"),
    ]
    for table, name, says in cases:
        (flaw,) = flaws(table)
        assert (flaw.key, says in flaw.allowed) == (name, True), flaw
        assert flaw.value == getattr(table, name)


@pytest.mark.parametrize("version", list(Version))
def test_the_contexts_demand_what_the_tables_say(
    version: Version, certificates: Certificates
) -> None:
    lowest = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    server = server_context(listen(certificates.server, versions_min=version))
    client = client_context(BackendTls(ca_file=certificates.ca, versions_min=version))
    assert server.minimum_version == client.minimum_version == lowest
    assert (server.verify_mode, client.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)
    assert client.check_hostname
    asking = server_context(listen(certificates.server, client_ca_file=certificates.ca))
    assert asking.verify_mode is ssl.CERT_REQUIRED


def test_who_does_not_verify_still_speaks_tls() -> None:
    context = client_context(BackendTls(verify=False))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_the_system_store_is_the_default() -> None:
    assert (
        client_context(BackendTls()).cert_store_stats()["x509"] > 0
        or not Path(ssl.get_default_verify_paths().cafile or "/none").exists()
    )


def test_flaws_make_no_context() -> None:
    with pytest.raises(
        TlsError, match=r"^certificate_file = /no: cannot be read: No such file or d"
    ):
        server_context(ListenTls(certificate_file="/no"))
    with pytest.raises(TlsError, match=r"^ca_file = /no: cannot be read"):
        client_context(BackendTls(ca_file="/no"))
