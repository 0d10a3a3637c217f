"""This machine: child processes, clean-up after a kill, free ports, files and data folders."""
