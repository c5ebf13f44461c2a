"""The benchmark: what a mirrored write costs beside native mirrors, and whether a hung side delays anybody.

`sample` is what is sent, `load` and `wrk` send it, `backend` and `nginx` answer it. `contestants` is
the table of what is compared (`nginx` and `envoy` know how to configure the peers), `scenes` the table
of circumstances, `targets` the table of promises. `bed` starts and ends every process, `check` sees
that each contestant does its work, `rounds` measures, `summary` reduces, `report` shows, `carried` puts
the tables into the READMEs. Law: every number comes from a process of its own, all contestants of a
scene live at the same time, and a ratio is formed within one round, never between two runs.
"""
