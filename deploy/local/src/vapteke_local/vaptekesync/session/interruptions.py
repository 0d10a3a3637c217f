"""Why a session stops answering before its answer is complete."""


class Cancelled(Exception):
    """The client sent an attention."""


class Silenced(Exception):
    """A fault: nothing more is answered on this connection."""


class Dropped(Exception):
    """The connection is lost, or is to be closed."""
