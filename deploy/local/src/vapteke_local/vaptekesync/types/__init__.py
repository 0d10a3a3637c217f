"""SQL Server's types: their definitions, and their values on the wire."""
