"""What every command that speaks to the queue checks first."""

import importlib.util


def check_service() -> None:
    """Whether there is a queue, and it answers.

    Raises:
        EnvironmentUnusableError: its packages are not here, or the broker does not answer.
        UsageError: no broker is set.
    """
    from auditor.errors import EnvironmentUnusableError

    if importlib.util.find_spec("celery") is None:
        raise EnvironmentUnusableError("the queue needs Celery: pip install 'auditor[service]'")
    from auditor.jobs.queue import check_broker

    check_broker()
