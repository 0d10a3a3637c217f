from vapteke_local.cli import app

app(prog_name="vapteke")
