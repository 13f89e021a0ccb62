"""Student's t distribution, and what a comparison needs of it."""

from functools import cache

HALVINGS = 60
"""Of a bracket of 2^20 or less; what is left of it is below a float's precision."""


@cache
def two_sided_p(t: float, df: float) -> float:
    """The chance that |T| with `df` degrees of freedom is at least |t|: I_x(df / 2, 1 / 2) at x = df / (df + t^2)."""
    from mpmath import betainc

    return float(betainc(df / 2, 0.5, 0, df / (df + t * t), regularized=True))


@cache
def quantile(probability: float, df: float) -> float:
    """The t below which a T with `df` degrees of freedom lies with this probability, found by bisection."""
    if probability < 0.5:
        return -quantile(1 - probability, df)
    low, high = 0.0, 1.0
    while two_sided_p(high, df) / 2 > 1 - probability:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if two_sided_p(middle, df) / 2 > 1 - probability:
            low = middle
        else:
            high = middle
    return high


def detectable(standard_error: float, df: float, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided test at 5 % finds with this power: (t_.975 + t_power) se.

    "Adding Error Bars to Evals" (arXiv 2411.00640), section 5, with t in place of z.
    """
    return (quantile(0.975, df) + quantile(power, df)) * standard_error
