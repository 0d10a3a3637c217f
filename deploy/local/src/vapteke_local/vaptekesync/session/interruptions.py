"""Why a session stops answering before its answer is complete."""


class Cancelled(Exception):
    """The client has cancelled its request by an attention, which the session must still acknowledge."""


class Silenced(Exception):
    """An injected fault strikes: the server sends nothing more on this connection until the client closes it."""


class Dropped(Exception):
    """The session must end. The connection is already aborted, or the server closes the connection now."""
