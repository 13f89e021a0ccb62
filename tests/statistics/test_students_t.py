"""Student's t against scipy's."""

import pytest

from rlsd_cli.statistics.students_t import detectable, quantile, two_sided_p

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("df", [1, 2, 2.7, 5, 19, 300, 10_000])
def test_t_is_that_of_scipy(df: float) -> None:
    for t in (0.0, 0.3, 1.96, -2.5, 12.0):
        assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-9)
    for probability in (0.975, 0.8, 0.5, 0.025):
        assert quantile(probability, df) == pytest.approx(stats.t.ppf(probability, df), rel=1e-9, abs=1e-9)


def test_what_is_detectable_is_found_with_the_power_that_is_asked_for() -> None:
    """Against the noncentral t: the true power at the difference, of a two-sided test at 5 %."""
    for df in (4, 19, 300):
        power = stats.nct.sf(stats.t.ppf(0.975, df), df, detectable(1.0, df))
        assert power == pytest.approx(0.8, abs=0.02)
