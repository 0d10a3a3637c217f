"""The commands `vapteke token`, `vapteke env` and `vapteke run`, for clients and operators of the running stack."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from vapteke_local.cli import running_stack
from vapteke_local.cli.running_stack import Running
from vapteke_local.cli.terminal import give_up
from vapteke_local.machine.processes import StackFailure
from vapteke_local.stack import bearer_tokens, description

AUDIENCES = ", ".join(bearer_tokens.AUDIENCES)
_OF_THE_STACK = ("POSTGRES_", "KAFKA_", "SECRET_KEY")


def token(
    scope: Annotated[list[str] | None, typer.Option(help=bearer_tokens.SCOPE_HELP)] = None,
    audience: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A service that accepts it, repeatable: {', '.join(bearer_tokens.AUDIENCES)}. Default: all."
        ),
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it is valid: seconds, or for example 15m, 12h, 30d.")] = "12h",
    subject: Annotated[str, typer.Option(help="The caller's name in the audit log.")] = "developer",
    ready: Running = None,
) -> None:
    """Print a bearer token.

    The token is signed with the variable SECRET_KEY. Without this variable, or with --ready, it is signed with the key
    of the running stack.
    """
    given = None if ready else bearer_tokens.key_from_environment()
    secret_key = given or running_stack.read(ready or description.run_file())["secret_key"]
    try:
        made = bearer_tokens.issue(
            secret_key, subject, scope or (), bearer_tokens.duration(ttl), audience or bearer_tokens.AUDIENCES
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except StackFailure as failure:
        give_up(str(failure))
    if not scope:
        sys.stderr.write(f"{bearer_tokens.NO_SCOPE}\n")
    sys.stdout.write(f"{made}\n")


def env(ready: Running = None) -> None:
    """Print the variables that a shell needs to call the running stack: `eval "$(vapteke env)"`."""
    stack = running_stack.read(ready or description.run_file())
    variables = {
        "CUSTOMERS_API": stack["customers_api"],
        "FAVORITES_API": stack["favorites_api"],
        "AUTH": f"Authorization: Bearer {stack['token']}",
    }
    sys.stdout.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))


def run(
    command: Annotated[list[str], typer.Argument(help="Such as `customers-api import --wait`.")], ready: Running = None
) -> None:
    """Run a command of a service against the running stack, with the variables of that service.

    Your own variables win: `VAPTEKESYNC_PORT=1 vapteke run legacy-importer doctor`. Only those that lead to the stack's
    Postgres and Kafka, and SECRET_KEY, are always the stack's.
    """
    service, *arguments = command
    variables = running_stack.read(ready or description.run_file())["variables"]
    if service not in variables:
        raise typer.BadParameter(f"{service} is not a service; use one of: {', '.join(variables)}")
    program = Path(sys.executable).with_name(service)
    stack = {name: value for name, value in variables[service].items() if name.startswith(_OF_THE_STACK)}
    os.execve(program, [service, *arguments], {**variables[service], **os.environ, **stack})
