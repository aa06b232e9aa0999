"""The old name of the kit, until every judge has been written with it."""

from workshop.checks.kit import *  # noqa: F403
