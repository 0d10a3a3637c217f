"""Imports from vAptekeSync.

- Start, cancel, lists: `endpoints`, `writes`, `queries`.
- What the importers report, and which range is dispatched next: `progress`, `admissions`.
- Rows: `consumers` divide batches, `apply` is the transaction of one, `rules` and `field_rules` decide what it does.
- The end: `sweeper` ends an import, `verdicts` says how.
- After it: `reread_customers` rewrites texts of an earlier release, `mirror_orphans` counts what lost its customer.
"""
