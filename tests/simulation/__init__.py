"""A simulation of the leases of jobs, in which one scheduler decides what happens next.

``python -m tests.simulation --interleavings 1000000 --seed 1`` (``make simulate``) draws schedules and runs each to its
end. ``python -m tests.simulation.mutants`` (``make mutants``) tests whether it notices small mistakes in that code.

What runs is the project's own code: claims, leases, saved progress and ends of jobs (``auditor.db``), heartbeats,
attempts, the reaper and the sending of jobs (``auditor.jobs``), and the process of a worker's pool
(``workers.process``), on SQLite in memory. What the simulation replaces is around it: the broker, the clocks, the
child processes that measure models, and the threads, whose place is taken by greenlets.

- ``database.py`` runs the transactions of the store, and remembers what each did to each state of the database;
- ``world.py`` has the processes, the broker and the clocks;
- ``schedule.py`` draws the events of a schedule, and has them happen;
- ``model.py`` says what each transaction must return, and what it must do to a job;
- ``checks.py`` says which contents of the database are consistent;
- ``shrink.py`` leaves events out of a failing schedule for as long as it fails.
"""
