"""`twinwrite run`: the sidecar itself."""

import click

from proxy.app import StartError
from proxy.cli.options import config_option, configured, fail
from proxy.control.log import Log
from proxy.serve import run as run_app


@click.command()
@config_option
def run(config_path: str) -> None:
    """Run the sidecar until SIGTERM or Ctrl-C; logs JSON lines to standard error.

    \b
    Examples:
      twinwrite run -c twinwrite.toml
      TWINWRITE_STAGE=dual_legacy_primary twinwrite run -c twinwrite.toml
    """
    config = configured(config_path, files=True)
    try:
        run_app(config, Log())
    except StartError as error:
        fail(str(error))
