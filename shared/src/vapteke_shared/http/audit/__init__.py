"""The audit log: who read or changed which people's data, and which requests were refused."""
