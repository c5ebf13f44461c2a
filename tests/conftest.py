"""Fixtures of every folder."""

import pytest

from tests.certificates import Certificates, make


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for TLS, good and bad."""
    return make(tmp_path_factory.mktemp("certificates"))
