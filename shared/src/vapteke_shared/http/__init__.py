"""REST services: the application, errors, bodies, access, lists and the audit log."""
