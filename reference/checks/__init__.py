"""A user's own gradient: recognised, run in a process, judged, shrunk, shown by a script.

Its folders, in the order that data flows: `code`, `reading`, `running`, `comparing`, `explain`,
`judging`, `showing`, `kinds`; at the end `kernels` and `results`, which do not know each other.
"""
