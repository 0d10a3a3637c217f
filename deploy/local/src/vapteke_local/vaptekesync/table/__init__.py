"""The one table: its definition, its rows, and changes of both while the server runs."""
