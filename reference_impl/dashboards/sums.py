"""The sums that the panels of several pages share, over the names that the metrics have."""

from reference_impl import metrics

from .expressions import Expression, Now, Quantile, Rate, Rest, Share, Sum

Where = tuple[tuple[str, str], ...]


def total(series: str, *by: str, where: Where = ()) -> Sum:
    """Return a sum that is 0 where there is nothing, if it keeps no label."""
    return Sum(series=series, by=by, where=where, zero=not by and bool(where))


def requests(*by: str, where: Where = ()) -> Sum:
    """Return the number of answered requests."""
    return total(f"{metrics.REQUESTS.name}_count", *by, where=where)


def quantile(share: float, family: metrics.Family, *by: str, where: Where = ()) -> Quantile:
    """Return a quantile of a histogram."""
    return Quantile(share, Sum(series=f"{family.name}_bucket", by=("le", *by), where=where))


def mean(family: metrics.Family, *by: str, where: Where = ()) -> Share:
    """Return the mean of what a histogram saw."""
    return Share(
        Rate(Sum(series=f"{family.name}_sum", by=by, where=where)),
        Rate(Sum(series=f"{family.name}_count", by=by, where=where)),
    )


def within(edge: str, family: metrics.Family, where: Where = ()) -> Share:
    """Return the share of a histogram at or below one of its edges."""
    at_most = (*where, ("le", edge))
    return Share(
        Rate(total(f"{family.name}_bucket", where=at_most)),
        Rate(Sum(series=f"{family.name}_count", where=where)),
    )


def used(free: str, size: str) -> Rest:
    """Return the share that is in use of something whose free part is exported."""
    return Rest(Share(Now(Sum(series=free)), Now(Sum(series=size))))


def of(part: str, whole: str) -> Expression:
    """Return the share of one gauge in another."""
    return Share(Now(Sum(series=part)), Now(Sum(series=whole)))


ANSWERED_5XX = requests(where=(("status", "5.."),))
ERROR_SHARE = Share(Rate(ANSWERED_5XX), Rate(Sum(series=f"{metrics.REQUESTS.name}_count")))
POSTING: Where = (("method", "POST"), ("route", "/v1/transactions"))
READING: Where = (("method", "GET"), ("route", "/v1/.*"))
CLASSES = (("2xx", "2.."), ("3xx", "3.."), ("4xx", "4.."), ("5xx", "5.."))
