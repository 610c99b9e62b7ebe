"""The half-width of a 95 % confidence interval in standard errors, as SQL."""

from __future__ import annotations

__all__ = ["NORMAL", "T_QUANTILES", "t_quantile_sql"]

NORMAL = 1.959963984540054
"""The 0.975 quantile of the normal distribution."""

T_QUANTILES = (
    12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934, 2.5705818356363146,
    2.4469118511449786, 2.364624251592784, 2.306004135204166, 2.262157162798205, 2.228138851986274,
    2.200985160091639, 2.1788128296672284, 2.1603686564627913, 2.144786687917804, 2.131449545559776,
    2.1199052992212546, 2.1098155778333156, 2.1009220402410382, 2.0930240544083087, 2.085963447265864,
    2.0796138447276795, 2.0738730679040254, 2.0686576104190486, 2.0638985616280245, 2.0595385527532972,
    2.0555294386428735, 2.0518305164802846, 2.0484071417952454, 2.045229642132703, 2.0422724563012378,
)  # fmt: skip
"""The 0.975 quantiles of Student's t distribution with 1, 2, … 30 degrees of freedom."""

_Z = NORMAL
_TERMS = (
    (_Z**3 + _Z) / 4,
    (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96,
    (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384,
    (79 * _Z**9 + 776 * _Z**7 + 1482 * _Z**5 - 1920 * _Z**3 - 945 * _Z) / 92160,
)


def t_quantile_sql(freedom: str) -> str:
    """The 0.975 quantile of Student's t distribution as SQL, to 7 digits or better.

    Args:
        freedom: SQL of the degrees of freedom, at least 1.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5, beyond the table.
    """
    table = ", ".join(map(repr, T_QUANTILES))
    series = " + ".join(f"{term!r} / ({freedom}) ** {power}" for power, term in enumerate(_TERMS, 1))
    return f"CASE WHEN {freedom} <= {len(T_QUANTILES)} THEN [{table}][({freedom})::BIGINT] ELSE {_Z!r} + {series} END"
