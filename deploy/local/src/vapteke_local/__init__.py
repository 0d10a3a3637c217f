"""The stack without Docker, for development and tests: the command `vapteke`, and the servers that the tests use."""
