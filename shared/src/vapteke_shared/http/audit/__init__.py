"""The audit: who read or changed whom, and which calls were refused."""
