"""Authentication and authorisation: tokens, scopes and callers."""
