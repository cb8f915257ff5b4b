"""The five dashboards, and the sums that a sample must hold for them."""

from . import pages_book, pages_machine, pages_service
from .expressions import Sum
from .panels import Page

PAGES: tuple[Page, ...] = (
    pages_service.OPERATIONAL,
    pages_service.PERFORMANCE,
    pages_book.BUSINESS,
    pages_machine.TECHNICAL,
    pages_book.ALERTING,
)
BY_ID = {page.id: page for page in PAGES}
SUMS: tuple[Sum, ...] = tuple(dict.fromkeys(one for page in PAGES for one in page.needs()))
"""In the order in which a stored sample holds them."""
