"""The benchmark: what a mirrored write costs, and whether a hung secondary delays anybody.

`sample` is what is sent, `load` and `wrk` send it, `backend` and `nginx` answer it, `contestants` is
the table of what is compared, `bed` starts and ends every process, `rounds` measures, `summary`
reduces, `report` shows. Law: every number comes from a process of its own, all contestants live at the
same time, and a ratio is formed within one round, never between two runs.
"""
