"""A client's session: login, requests, answers, and the faults that interrupt answers."""
