"""The command line: `twinwrite` and `python -m proxy`.

Law: a verb is imported when it is used: all of them take half a second, and probes ask every few seconds.
"""

from importlib import import_module

import click

VERBS = ("run", "check", "status", "diffs", "intents", "dead", "unknown", "replay", "demo")
"""Each is the one command of the module of its name in `proxy.cli`."""


class Verbs(click.Group):
    """The verbs, in the order in which one needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Part of click.Group."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Part of click.Group."""
        if cmd_name not in VERBS:
            return None
        command = getattr(import_module(f"proxy.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twinwrite", prog_name="twinwrite")
def main() -> None:
    """Twinwrite: move a service to a new backend without losing a write.

    \b
    First steps:
      twinwrite demo                       see it work on two sample backends
      twinwrite check config.example.toml  check a configuration
      twinwrite run -c twinwrite.toml      run the sidecar
    """


if __name__ == "__main__":
    main()
