"""Imports from vAptekeSync.

- Jobs: `endpoints` start, cancel and list imports; `writes` and `queries` write and read them.
- What the importers report: `progress` stores it and requests the next key ranges; `admissions` decides what counts.
- Rows: `consumers` divide batches, `apply` is the transaction of one, `rules` and `field_rules` decide what it writes.
- The end: `sweeper` ends an import with the verdict that `verdicts` decides.
- After it: `reread_customers` rewrites texts of an earlier release, `mirror_orphans` counts mirror rows that have lost
  their customer or phone.
"""
