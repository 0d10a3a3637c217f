"""Imports from vAptekeSync: jobs, what the importers report, applying legacy customers, the verdict."""
