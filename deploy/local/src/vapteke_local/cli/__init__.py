"""`vapteke`: the whole stack on this machine, without Docker."""

import typer

from vapteke_local.cli import client_commands, legacy_commands, stack_commands

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(legacy_commands.app, name="legacy")
app.command()(stack_commands.up)
app.command()(stack_commands.demo)
app.command()(client_commands.token)
app.command()(client_commands.env)
app.command(context_settings={"allow_interspersed_args": False})(client_commands.run)
