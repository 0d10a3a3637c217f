"""The command `legacy-importer doctor`: examines what an import needs, and says how to fix what is wrong."""
