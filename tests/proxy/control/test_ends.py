"""Both ends in the config: contradictions, flaws of files, and warnings; by key, value and reason."""

import pytest

from proxy.control.config import Config, ConfigError, parse
from tests.certificates import Certificates

LEGACY, NEW = "http://legacy:8001", "http://new:8002"


def loaded(extra: str = "", *, legacy: str = LEGACY, new: str = NEW) -> Config:
    urls = f'[backends]\nlegacy.url = "{legacy}"\nnew.url = "{new}"\n'
    return parse(urls + extra, "f.toml", {})


def problems(extra: str = "", **urls: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(extra, **urls)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "same",
    [
        {"new": LEGACY},
        {"legacy": "http://localhost:80", "new": "https://127.0.0.1:80"},
        {"legacy": "http://a", "new": "http://A:80"},
        {"legacy": "unix:/run/a", "new": "unix:/run/a"},
    ],
)
def test_the_sides_are_two(same: dict[str, str]) -> None:
    (problem,) = problems(**same)
    assert problem.endswith("must differ from backends.legacy.url")


@pytest.mark.parametrize(
    ("extra", "urls"),
    [
        ("[listen]\nport = 8001", {"legacy": "http://127.0.0.1:8001"}),
        ('[listen]\nport = 80\nhost = "0.0.0.0"', {"legacy": "http://localhost"}),
        ('[listen]\nunix = "/run/a"', {"legacy": "unix:/run/a"}),
    ],
)
def test_a_side_is_not_the_listener(extra: str, urls: dict[str, str]) -> None:
    (problem,) = problems(extra, **urls)
    assert problem.startswith("f.toml: backends.legacy.url = ")
    assert problem.endswith("must not be the address of [listen]")


def test_a_socket_file_leaves_the_ports_to_others() -> None:
    loaded('[listen]\nunix = "/run/a"\nport = 9090', legacy="http://127.0.0.1:9090")
    (problem,) = problems("[listen]\nport = 9090")
    assert problem == "f.toml: admin.port = 9090: must differ from listen.port"


def test_every_flaw_of_every_table_is_told_at_once(certificates: Certificates) -> None:
    extra = f"""
[listen.tls]
certificate_file = "{certificates.server.certificate}"
key_file = "{certificates.client.key}"
[backends.new.tls]
ca_file = "/no/ca"
certificate_file = "/no/c"
versions_min = "1.1"
[backends.legacy.tls]
key_file = "{certificates.server.key}"
"""
    found = problems(extra, new="https://new")
    assert [problem.partition(" = ")[0] for problem in found] == [
        "f.toml: backends.new.tls.versions_min",
        "f.toml: listen.tls.key_file",
        "f.toml: backends.legacy.tls.key_file",
        "f.toml: backends.new.tls.ca_file",
        "f.toml: backends.new.tls.certificate_file",
    ]
    assert found[0].endswith('"1.1": must be one of 1.2, 1.3')
    assert found[3].endswith('"/no/ca": cannot be read: No such file or directory')


def test_who_does_not_use_the_files_does_not_look_at_them() -> None:
    """`twinwrite status` answers the container's health check while certificates are renewed."""
    text = (
        f'[backends]\nlegacy.url = "{LEGACY}"\nnew.url = "https://new"\nnew.tls.ca_file = "/no"\n'
    )
    parse(text, "f.toml", {}, files=False)
    with pytest.raises(ConfigError):
        parse(text, "f.toml", {})


def test_what_may_surprise_is_a_warning(certificates: Certificates) -> None:
    extra = f"""
[backends.new.tls]
verify = false
[backends.legacy.tls]
ca_file = "{certificates.ca}"
[admin]
host = "0.0.0.0"
"""
    assert loaded(extra, new="https://new").warnings == (
        'admin.host = "0.0.0.0": whoever reaches this port gets in',
        "backends.legacy.tls: has no effect, backends.legacy.url is not https",
        "backends.new.tls.verify = false: anybody on the way may read and change what is sent",
    )
    assert loaded(new="https://new").warnings == ()


def test_a_variable_sets_a_key_of_a_table_in_a_table(certificates: Certificates) -> None:
    urls = f'[backends]\nlegacy.url = "{LEGACY}"\nnew.url = "https://new"\n'
    config = parse(urls, "f.toml", {"TWINWRITE_BACKENDS_NEW_TLS_CA_FILE": certificates.ca})
    assert config.backends["new"].tls.ca_file == certificates.ca  # type: ignore[index]
    assert config.warnings == ()
    with pytest.raises(ConfigError, match=r"environment: TWINWRITE_LISTEN_TLS_KEY_FILE = \"/no\""):
        parse(urls, "f.toml", {"TWINWRITE_LISTEN_TLS_KEY_FILE": "/no"})
