"""Reads the extra keywords of the connection string (`VAPTEKESYNC_ODBC_OPTIONS`), such as MultiSubnetFailover=Yes.

These keywords may tune a connection. The server, the login and the trusted certificates have variables of their own.
So a keyword that could change the server, the login or the certificates is rejected.
"""

import re

_OPTION = re.compile(r"\s*([A-Za-z][A-Za-z0-9_ -]*?)\s*=\s*([^={};\s][^={};]*?)\s*", re.ASCII)
# Keywords of Microsoft's drivers, FreeTDS and the driver manager, without case, spaces, underscores and hyphens.
_FORBIDDEN = re.compile(
    # parts that occur in no harmless keyword
    r".*(user|uid|pwd|pass|login|server|driver|dsn|encrypt|trust|certificate|hostnamein|authentication|keystore|secret"
    r"|token|spn|failoverpartner|database|attachdb|integrated|logfile|dump|realm|ntlm|kerberos|cafile|crlfile|tls|ssl).*"
    # whole keywords, because harmless ones contain parts of them
    r"|addr|address|networkaddress|net|network|networklibrary|host|port|instance|clientkey|catalog|initialcatalog"
    r"|savefile|protocol|tdsversion|clientcharset|autotranslate|regional|concatnullyieldsnull|ansinpw|quotedid|textsize"
)
OWN_VARIABLES = "user, password, server, database, driver, encryption and trust have variables of their own"


def parse(options: str) -> dict[str, str]:
    """The value of each option, by keyword. Raises ValueError for an option that is malformed, repeated or rejected.

    The text of the error repeats nothing of the options.
    """
    parsed: dict[str, str] = {}
    for option in options.strip().removesuffix(";").split(";") if options.strip() else ():
        found = _OPTION.fullmatch(option)
        if found is None or not option.isprintable():
            raise ValueError("is not of the form Key=Value;Key=Value, without braces")
        name, value = found.groups()
        if _FORBIDDEN.fullmatch(re.sub(r"[ _-]", "", name).casefold()):
            raise ValueError(f"has a keyword that must be left out: {OWN_VARIABLES}")
        if name.casefold() in {known.casefold() for known in parsed}:
            raise ValueError("has a keyword twice")
        parsed[name] = value
    return parsed


def checked(options: str) -> str:
    """The options unchanged, when they are valid. Raises ValueError."""
    parse(options)
    return options
