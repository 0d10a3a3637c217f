"""The command `legacy-importer doctor`: examines what an import needs, and says how to cure what is wrong."""
