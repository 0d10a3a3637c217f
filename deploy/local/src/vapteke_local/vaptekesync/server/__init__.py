"""The running stand-in: sockets, sessions, faults on command and the control port."""
