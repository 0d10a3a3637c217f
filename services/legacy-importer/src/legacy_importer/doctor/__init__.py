"""The command `legacy-importer doctor`: examines what an import needs, and names the cure of what is wrong."""
