"""Customers: reading and changing them, their phones, and the events of their changes."""
