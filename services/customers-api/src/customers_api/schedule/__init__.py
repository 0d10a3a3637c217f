"""The schedule of imports: `customers-api work` starts them by itself.

`times` works out when they are due, `steps` decides what to do now, and `writes` does it in one transaction.
`scheduler` runs that in the leader of the sweeper. `endpoints` show, pause and resume the schedule.
"""
