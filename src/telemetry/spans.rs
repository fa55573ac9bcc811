//! Spans of the calls that are sampled.
//!
//! Whether a call is sampled is known before anything is made for it: a call that is not costs a look at its
//! `traceparent` and a number, and asks for no memory. A span holds words of the service's own and figures; what a
//! caller sent is in it only as its place in the trace, `traceparent` and `tracestate`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId as OtelTraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::clock::Clock;
use crate::domain::ids::TraceId;
use crate::domain::trace_context::TraceContext;
use crate::random::{self, Random};
use crate::telemetry::otlp::Outbox;

/// The longest `tracestate` that is passed on; W3C Trace Context asks for no more. Of a longer one nothing is.
const MAX_STATE_BYTES: usize = 512;

thread_local! {
    /// The sampled call that is worked on here at this moment.
    static CURRENT: RefCell<Option<Arc<Call>>> = const { RefCell::new(None) };
    /// What the next number of this thread is made of; 0 before the first.
    static DICE: Cell<u64> = const { Cell::new(0) };
}

/// Decides which calls are sampled, and begins their spans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ratio: f64,
    outbox: Outbox,
    scope: InstrumentationScope,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Tracer {
    /// Samples the share `ratio` of the calls whose callers do not say, and hands their spans to `outbox`.
    #[must_use]
    pub fn new(ratio: f64, outbox: Outbox, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let scope = InstrumentationScope::builder("keyledger")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Tracer(Arc::new(Shared { ratio, outbox, scope, clock, random }))
    }

    /// Whether a call is sampled: as its caller says, if `obeyed`. Else a caller can only say that it is not: who need
    /// not show a credential cannot have calls recorded at will.
    #[must_use]
    pub fn samples(&self, parent: Option<&TraceContext>, obeyed: bool) -> bool {
        match parent {
            Some(parent) if !parent.sampled => false,
            Some(_) if obeyed => true,
            _ => f64::from(self.draw()) < self.0.ratio * (f64::from(u32::MAX) + 1.0),
        }
    }

    /// A number that is cheap and need not be secret: the generator is splitmix64
    /// (<https://prng.di.unimi.it/splitmix64.c>).
    fn draw(&self) -> u32 {
        let state = match DICE.get() {
            0 => u64::from_be_bytes(random::bytes(&*self.0.random)),
            state => state,
        };
        let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        DICE.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, d, ..] = (mixed ^ (mixed >> 31)).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Begins the span of a sampled call, below `parent` if it has one, in whose `state` it stays.
    #[must_use]
    pub fn begin(
        &self,
        name: String,
        parent: Option<&TraceContext>,
        state: Option<&str>,
        attributes: Vec<KeyValue>,
    ) -> CallSpan {
        let new_trace = || TraceId(random::bytes(&*self.0.random));
        let state = state.filter(|state| parent.is_some() && state.len() <= MAX_STATE_BYTES);
        let call = Call {
            tracer: self.clone(),
            trace: parent.map_or_else(new_trace, |parent| parent.trace),
            state: state.and_then(|state| state.parse().ok()).unwrap_or_default(),
            begun: Begun::now(self),
            parent: parent.map(|parent| parent.parent),
            name,
            end: Mutex::new(End { attributes, ..End::default() }),
        };
        CallSpan(Arc::new(call))
    }
}

/// What was decided, as a span names it.
pub const OUTCOME: &str = "keyledger.outcome";

/// Where and when a span begins.
#[derive(Debug)]
struct Begun {
    id: [u8; 8],
    wall: SystemTime,
    monotonic: Duration,
}

impl Begun {
    fn now(tracer: &Tracer) -> Self {
        let Shared { clock, random, .. } = &*tracer.0;
        let micros = u64::try_from(clock.wall().as_micros()).unwrap_or(0);
        let wall = UNIX_EPOCH + Duration::from_micros(micros);
        Begun { id: random::bytes(&**random), wall, monotonic: clock.monotonic() }
    }
}

/// A sampled call.
#[derive(Debug)]
struct Call {
    tracer: Tracer,
    trace: TraceId,
    state: TraceState,
    begun: Begun,
    parent: Option<[u8; 8]>,
    name: String,
    end: Mutex<End>,
}

/// What is known of a call at its end.
#[derive(Debug, Default)]
struct End {
    attributes: Vec<KeyValue>,
    failed: bool,
    answered: bool,
    /// Its caller's flag alone has it traced.
    asked_for: bool,
    /// Its caller is known.
    vouched_for: bool,
}

impl Call {
    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A span of this call as the collector gets it, ended now.
    fn span(&self, begun: &Begun, parent: Option<[u8; 8]>) -> SpanData {
        let Shared { clock, scope, .. } = &*self.tracer.0;
        let span_context = SpanContext::new(
            OtelTraceId::from_bytes(self.trace.0),
            SpanId::from_bytes(begun.id),
            TraceFlags::SAMPLED,
            false,
            self.state.clone(),
        );
        SpanData {
            span_context,
            parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time: begun.wall,
            end_time: begun.wall + clock.monotonic().saturating_sub(begun.monotonic),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: scope.clone(),
        }
    }
}

/// The span of a call. Ends, and is handed on, when it is dropped.
#[derive(Debug)]
pub struct CallSpan(Arc<Call>);

impl CallSpan {
    /// Its `traceparent`, if it is the first of its trace: what the call leaves behind is to name that.
    #[must_use]
    pub fn new_traceparent(&self) -> Option<String> {
        let (trace, span) =
            (u128::from_be_bytes(self.0.trace.0), u64::from_be_bytes(self.0.begun.id));
        self.0.parent.is_none().then(|| format!("00-{trace:032x}-{span:016x}-01"))
    }

    /// Says that its caller's flag alone has it traced: it is handed on only if that caller proves to be one
    /// ([`vouch`]), so that nobody else can fill the outbox.
    pub fn ask_for(&self) {
        self.0.end().asked_for = true;
    }

    /// Does what begins the work of the call.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _before = Before(CURRENT.replace(Some(Arc::clone(&self.0))));
        work()
    }

    /// Says how the call was answered, and whether that is our failure.
    pub fn answered(&self, attributes: impl IntoIterator<Item = KeyValue>, failed: bool) {
        let mut end = self.0.end();
        end.attributes.extend(attributes);
        (end.failed, end.answered) = (failed, true);
    }

    /// Does the work of the call, whose parts are then spans below this one.
    pub fn follow<F: Future + Unpin>(&self, work: F) -> Followed<F> {
        Followed { call: Arc::clone(&self.0), work }
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        let call = &self.0;
        let mut end = call.end();
        if end.asked_for && !end.vouched_for {
            return;
        }
        let mut attributes = std::mem::take(&mut end.attributes);
        let told = attributes.iter().any(|it| it.key.as_str() == OUTCOME);
        if !end.answered && !told {
            attributes.push(KeyValue::new(OUTCOME, "ABANDONED"));
        }
        let status = if end.failed { Status::error("") } else { Status::Unset };
        call.tracer.0.outbox.put(SpanData {
            parent_span_is_remote: call.parent.is_some(),
            span_kind: SpanKind::Server,
            name: call.name.clone().into(),
            attributes,
            status,
            ..call.span(&call.begun, call.parent)
        });
    }
}

/// Work of a sampled call.
#[derive(Debug)]
pub struct Followed<F> {
    call: Arc<Call>,
    work: F,
}

/// Puts back what was worked on before, after a panic too.
struct Before(Option<Arc<Call>>);

impl Drop for Before {
    fn drop(&mut self) {
        drop(CURRENT.replace(self.0.take()));
    }
}

impl<F: Future + Unpin> Future for Followed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _before = Before(CURRENT.replace(Some(Arc::clone(&self.call))));
        Pin::new(&mut self.work).poll(cx)
    }
}

/// A part of a sampled call. Its span ends when this is dropped.
#[derive(Debug)]
pub struct Part {
    call: Arc<Call>,
    name: &'static str,
    begun: Begun,
}

/// Begins a part of the call that is worked on; none if that is not sampled.
#[must_use]
pub fn part(name: &'static str) -> Option<Part> {
    let call = CURRENT.with_borrow(Clone::clone)?;
    let begun = Begun::now(&call.tracer);
    Some(Part { call, name, begun })
}

impl Drop for Part {
    fn drop(&mut self) {
        let name = self.name.into();
        let span = self.call.span(&self.begun, Some(self.call.begun.id));
        self.call.tracer.0.outbox.put(SpanData { name, ..span });
    }
}

/// Says that who makes the call that is worked on has shown a credential or certificate that works.
pub fn vouch() {
    CURRENT.with_borrow(|call| {
        if let Some(call) = call {
            call.end().vouched_for = true;
        }
    });
}

/// Says something of the call that is worked on, if that is sampled: words of the service's own, never a caller's.
/// Nothing of a word that is empty.
pub fn tell<const N: usize>(words: impl FnOnce() -> [(&'static str, &'static str); N]) {
    CURRENT.with_borrow(|call| {
        if let Some(call) = call {
            let words = words().into_iter().filter(|(_, word)| !word.is_empty());
            let words = words.map(|(name, word)| KeyValue::new(name, word));
            call.end().attributes.extend(words);
        }
    });
}
