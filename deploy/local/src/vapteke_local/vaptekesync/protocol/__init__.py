"""The wire protocol (MS-TDS): packets, login, calls, and the tokens of an answer."""
