"""The SQL statements that the stand-in answers."""
