"""`python -m vapteke_local` is the command `vapteke`."""

from vapteke_local.cli import app

app(prog_name="vapteke")
