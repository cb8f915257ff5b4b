"""Spans to an OpenTelemetry collector over OTLP/HTTP, by the SDK of OpenTelemetry.

Imported only where `otlp_endpoint` is set. Ids and times are those of this server: the SDK is given
them and makes none of its own. Spans wait in a bounded queue for a thread of the SDK; what a
collector that is gone, slow or full of errors does not take is counted and forgotten.
"""

import atexit
import logging
import multiprocessing.util
import threading
from collections.abc import Sequence

import requests
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from . import __version__, metrics
from .spans import Kind, Span
from .tracing import Trace

SERVICE = "alluse"
WAITING_MAX = 4096
"""Spans that wait in one worker; the next one is dropped."""
BATCH_MAX = 512
DELAY_MS = 1_000
"""So long a span waits for others at most, while the collector takes them."""
STOP_S = 1.0
"""How long a worker that stops waits for the collector to take what is left."""
_KINDS = {Kind.SERVER: api.SpanKind.SERVER, Kind.CLIENT: api.SpanKind.CLIENT}
_log = logging.getLogger(__name__)
# Its lines show headers that cannot be read, and one comes for each batch that is lost; what is
# lost is counted here, and told once.
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


def exporter(url: str) -> OTLPSpanExporter:
    """Return the exporter; its headers, time-out, CA and compression are those of the environment.

    Only the operator says where spans go: no redirect is followed, which would take headers along,
    and proxies and .netrc are not looked at.
    """
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    return OTLPSpanExporter(endpoint=url, session=session)


class _Given(IdGenerator):
    """Lets the SDK use ids that are there already: those of `trace` in this thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    def use(self, trace: Trace) -> None:
        self._local.trace = trace

    def generate_span_id(self) -> int:
        return int(self._local.trace.span_id, 16)

    def generate_trace_id(self) -> int:
        return int(self._local.trace.trace_id, 16)


class _Counted(SpanExporter):
    """Counts what becomes of the spans that leave the queue, and gives their places back."""

    def __init__(
        self, inner: SpanExporter, url: str, counted: metrics.Metrics, places: threading.Semaphore
    ) -> None:
        self._inner, self._url = inner, url
        self._counted, self._places = counted, places
        self._away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._places.release(len(spans))
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        finally:
            taken = result is SpanExportResult.SUCCESS
            self._counted.count(metrics.SPANS, ("exported" if taken else "failed",), len(spans))
            self._tell(away=not taken)
        return result

    def _tell(self, *, away: bool) -> None:
        if away and not self._away:
            _log.warning("%s does not take spans: they are counted and lost", self._url)
        elif self._away and not away:
            _log.warning("%s takes spans again", self._url)
        self._away = away

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class Exported:
    """The spans of one worker, on their way."""

    def __init__(self, url: str, instance: str, counted: metrics.Metrics) -> None:
        """Start the thread that sends; nothing is connected before there is a span."""
        self._counted = counted
        self._places = threading.Semaphore(WAITING_MAX)
        self._ids = _Given()
        self._processor = BatchSpanProcessor(
            _Counted(exporter(url), url, counted, self._places),
            max_queue_size=WAITING_MAX,
            max_export_batch_size=BATCH_MAX,
            schedule_delay_millis=DELAY_MS,
        )
        provider = TracerProvider(
            sampler=ALWAYS_ON,  # whoever began the trace has decided; see `put`
            resource=resource(instance),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("reference_impl", __version__)
        self._stopping = threading.Lock()

    def put(self, span: Span) -> None:
        """Queue a sampled span; if too many wait it is dropped and counted."""
        if not span.trace.sampled:
            return
        if not self._places.acquire(blocking=False):
            self._counted.count(metrics.SPANS, ("dropped",))
            return
        self._ids.use(span.trace)
        made = self._tracer.start_span(
            span.name,
            context=above(span),
            kind=_KINDS[span.kind],
            attributes=span.attributes,
            start_time=span.times[0],
        )
        if span.failed:
            made.set_status(api.StatusCode.ERROR)
        made.end(span.times[1])

    def stop_at_exit(self) -> None:
        """Send what is left when this process ends in good order, after its work in background."""
        multiprocessing.util.Finalize(None, self.stop, exitpriority=50)
        atexit.register(self.stop)

    def stop(self) -> None:
        """Send what is left, in bounded time: a collector that hangs holds up nothing."""
        if not self._stopping.acquire(blocking=False):
            return
        ending = threading.Thread(target=self._processor.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(STOP_S)


def resource(instance: str) -> Resource:
    """Return who exports; OTEL_RESOURCE_ATTRIBUTES may add to it."""
    own = {
        "service.name": SERVICE,
        "service.version": __version__,
        "service.instance.id": instance,
    }
    return Resource.create(own)


def above(span: Span) -> Context:
    """Return the context of the span that this one is part of; an empty one at the root."""
    trace = span.trace
    if not trace.parent_id:
        return Context()
    parent = api.SpanContext(
        trace_id=int(trace.trace_id, 16),
        span_id=int(trace.parent_id, 16),
        is_remote=span.kind is Kind.SERVER,
        trace_flags=api.TraceFlags(api.TraceFlags.SAMPLED),
    )
    return api.set_span_in_context(api.NonRecordingSpan(parent), Context())
