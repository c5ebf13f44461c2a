"""`twinwrite diffs`: what the comparison found. Without a verb it lists groups."""

import click

from proxy.cli.diffs_export import export
from proxy.cli.diffs_list import list_groups, rules, search
from proxy.cli.diffs_show import curl, show
from proxy.cli.diffs_stats import stats
from proxy.cli.diffs_suggest import suggest_rules

_HELP = ("-h", "--help")


class Verbs(click.Group):
    """A group whose first verb needs no name: `twinwrite diffs --follow` is `twinwrite diffs list --follow`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the verb in where none is given."""
        if not args or (args[0].startswith("-") and args[0] not in _HELP):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Verbs)
def diffs() -> None:
    """Read the differences between the two sides: works while the sidecar runs and when it does not.

    \b
    Examples:
      twinwrite diffs                     groups, most frequent first
      twinwrite diffs --follow            new mismatches as they come
      twinwrite diffs show 17             one of them, side by side
      twinwrite diffs search c-20417      where a word was seen
      twinwrite diffs stats --since 7d    by the hour
      twinwrite diffs suggest             rules for what is noise
    """


for verb in (list_groups, show, search, stats, suggest_rules, rules, export, curl):
    diffs.add_command(verb)
