"""The command line: `twinwrite` and `python -m proxy`."""

import click

from proxy.cli.check import check
from proxy.cli.dead import dead
from proxy.cli.demo import demo
from proxy.cli.diffs import diffs
from proxy.cli.intents import intents
from proxy.cli.replay import replay
from proxy.cli.run import run
from proxy.cli.status import status
from proxy.cli.unknown import unknown


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twinwrite", prog_name="twinwrite")
def main() -> None:
    """Twinwrite: move a service to a new backend without losing a write.

    \b
    First steps:
      twinwrite demo                       see it work on two sample backends
      twinwrite check config.example.toml  check a configuration
      twinwrite run -c twinwrite.toml      run the sidecar
    """


for command in (run, check, status, diffs, intents, dead, unknown, replay, demo):
    main.add_command(command)

if __name__ == "__main__":
    main()
