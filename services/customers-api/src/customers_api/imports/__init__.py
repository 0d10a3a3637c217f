"""Imports from vAptekeSync.

- Jobs: `endpoints` start, cancel and list imports; `writes` and `queries` write and read them.
- What the importers do: `tasks` hands out key ranges, `progress` stores what they report, and `admissions` decides what
  counts.
- Single rows: `row_imports` starts an import of them, `row_outcomes` keeps what became of each.
- Rows: `consumers` gets batches, `legacy_batches` divides them, and `apply` applies each in one transaction. What it
  writes is decided by `rules` and `field_rules`.
- The end: `sweeper` ends an import with the verdict that `verdicts` decides.
- After it: `reread_customers` rewrites texts of an earlier release, `mirror_orphans` counts mirror rows that have lost
  their customer or phone.
"""
