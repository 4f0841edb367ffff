"""How many examples a property test looks at. The profiles `ci` and `fuzz` are registered in tests/conftest.py."""

from hypothesis import HealthCheck, settings

from tests.support.values import known

# For tests whose examples overwrite each other's files, so that one folder or lake serves them all.
SHARED_FIXTURES = (HealthCheck.function_scoped_fixture,)


def examples(count: int, *, suppress: tuple[HealthCheck, ...] = ()) -> settings:
    """`count` examples under the profile `ci`, as many times more under `fuzz` as that looks at in general."""
    chosen = known(settings.default)
    scale = chosen.max_examples / settings.get_profile("ci").max_examples
    checks = (*chosen.suppress_health_check, *suppress)
    return settings(max_examples=round(count * scale), suppress_health_check=checks)
