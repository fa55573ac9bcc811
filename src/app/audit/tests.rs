//! How streams are paced and how they end: a client that reads nothing, a stop, a revoked caller, a
//! filter that nothing fits, many who follow.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use super::room::MAX_OF_ONE;
use super::stream::Pace;
use super::*;
use crate::app::App;
use crate::app::call::Call;
use crate::app::callers::NewCaller;
use crate::app::identify::Identity;
use crate::app::startup::{Opened, open};
use crate::clock::ManualClock;
use crate::config::Config;
use crate::domain::caller::{Role, Roles};
use crate::domain::event::EventKind;
use crate::domain::requests::Method;
use crate::domain::testing::at;
use crate::progress::Silent;
use crate::random::SystemRandom;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// No heartbeat and no end in a test.
const PATIENT: Pace = Pace { heartbeat: LONG, patience: LONG, progress_each: u64::MAX };

struct Service {
    opened: Opened,
    clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().join("data"), ..Config::default() };
        let clock = Arc::new(ManualClock::new(at(0)));
        let its = Arc::clone(&clock);
        let open = move || open(&config, its, Arc::new(SystemRandom), &Silent).unwrap();
        let opened = tokio::task::spawn_blocking(open).await.unwrap();
        Service { opened, clock, _dir: dir }
    }

    /// Closes it in order, which needs every stream to have let go of it.
    async fn stop(self) {
        self.no_stream_is_open().await;
        let Opened { app, closing, .. } = self.opened;
        drop(app);
        tokio::task::spawn_blocking(move || closing.close().unwrap()).await.unwrap();
    }

    async fn no_stream_is_open(&self) {
        self.shows(|figures| figures.streams == 0).await;
    }

    /// Waits until the figures are so.
    async fn shows(&self, so: impl Fn(&AuditFigures) -> bool) {
        while !so(&self.app().audit.figures()) {
            tokio::task::yield_now().await;
        }
    }

    fn app(&self) -> &Arc<App> {
        &self.opened.app
    }

    fn admin(&self) -> Arc<Identity> {
        let text = std::fs::read_to_string(self.opened.closing.admin_credential()).unwrap();
        Arc::new(self.app().identify(text.trim_end()).unwrap())
    }

    fn call(&self, method: Method) -> Call {
        let identity = self.admin();
        Call { identity, method, trace_id: None, request: None, on_behalf_of: None }
    }

    /// One more event: a caller that may read the history.
    async fn auditor(&self) -> Arc<Identity> {
        let new = NewCaller {
            name: "auditor".to_owned(),
            owner: String::new(),
            roles: Roles::of(&[Role::Auditor]),
            tenants: Vec::new(),
            expire_time: None,
            certificate_name: None,
        };
        let issued = self.app().create_caller(&self.call(Method::CreateCaller), new).await.unwrap();
        Arc::new(self.app().identify(issued.credential.unwrap().expose()).unwrap())
    }

    fn stream(&self, ask: StreamAsk, pace: Pace) -> Answers {
        self.app().start_stream(&self.admin(), ask, pace, ()).unwrap()
    }

    fn head(&self) -> u64 {
        self.app().table.head().unwrap().get()
    }
}

fn following(kinds: &[EventKind]) -> StreamAsk {
    let filter = EventFilter { kinds: kinds.to_vec(), ..EventFilter::default() };
    StreamAsk { after: None, filter, follow: true }
}

/// What an answer is and its position.
fn told(answer: &Answer) -> (&'static str, u64) {
    match answer {
        Answer::Event(entry) => ("event", entry.fact.position.get()),
        Answer::Heartbeat { head, .. } => ("heartbeat", *head),
        Answer::Progress { position } => ("progress", *position),
    }
}

async fn recv(answers: &mut Answers) -> Option<Result<Vec<Answer>, AppError>> {
    poll_fn(|context| answers.poll_recv(context)).await
}

async fn next(answers: &mut Answers) -> Vec<(&'static str, u64)> {
    let lot = recv(answers).await.expect("more").expect("no error");
    lot.iter().map(told).collect()
}

/// How a stream ends, and from where to resume.
async fn end(mut answers: Answers) -> Option<(AppError, u64)> {
    while let Some(lot) = recv(&mut answers).await {
        match lot {
            Ok(_) => {}
            Err(AppError::Interrupted { cause, resume_after }) => {
                return Some((*cause, resume_after));
            }
            Err(error) => panic!("{error:?} names no position"),
        }
    }
    None
}

/// Checkpoints of heartbeats on one stream, while the log grows.
#[tokio::test(flavor = "multi_thread")]
async fn no_heartbeat_has_a_checkpoint_beyond_its_head_or_of_less_than_one_before() {
    let service = Service::start().await;
    let at_once = Pace { heartbeat: Duration::ZERO, ..PATIENT };
    let mut answers = service.stream(following(&[EventKind::KeyCreated]), at_once);
    let (mut reached, mut last) = (service.head(), 0);
    for _ in 0..5 {
        service.auditor().await;
        while last < reached {
            service.clock.advance(Duration::from_secs(1));
            for answer in recv(&mut answers).await.expect("more").expect("no error") {
                let Answer::Heartbeat { head, checkpoint } = answer else { continue };
                let size = checkpoint.map_or(0, |signed| signed.checkpoint.size);
                assert!(last <= size && size <= head, "{last} {size} {head}");
                last = size;
            }
        }
        reached = service.head();
    }
    drop(answers);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_head_a_stream_says_so_at_once_and_again_while_there_is_nothing_to_send() {
    let service = Service::start().await;
    let head = service.head();
    let pace = Pace { heartbeat: Duration::from_millis(1), ..PATIENT };
    let mut answers = service.stream(following(&[EventKind::KeyCreated]), pace);
    for _ in 0..3 {
        assert_eq!(next(&mut answers).await, [("heartbeat", head)]);
    }
    drop(answers);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_passed_over_is_told_now_and_then() {
    let service = Service::start().await;
    for _ in 0..5 {
        service.auditor().await;
    }
    // The first record is the pepper's.
    let pace = Pace { progress_each: 3, ..PATIENT };
    let mut answers = service.stream(following(&[EventKind::PepperRotated]), pace);
    assert_eq!(next(&mut answers).await, [("event", 1)]);
    assert_eq!(next(&mut answers).await, [("heartbeat", service.head())]);
    drop(answers);
    let ask =
        StreamAsk { after: Position::new(1), follow: false, ..following(&[EventKind::KeyUsed]) };
    let mut answers = service.stream(ask, pace);
    assert_eq!(next(&mut answers).await, [("progress", service.head())]);
    assert!(recv(&mut answers).await.is_none(), "it does not follow");
    drop(answers);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_told_where_to_resume_and_has_its_place_until_it_is_gone() {
    let service = Service::start().await;
    let pace =
        Pace { heartbeat: Duration::from_millis(1), patience: Duration::from_millis(1), ..PATIENT };
    let sending = Arc::new(());
    let held = Arc::downgrade(&sending);
    let admin = service.admin();
    let answers = service.app().start_stream(&admin, following(&[]), pace, sending).unwrap();
    service.shows(|figures| figures.stalled == 1).await;
    while held.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
    // What was handed to it takes memory still.
    assert_eq!(service.app().audit.figures().streams, 1);
    let (cause, resume_after) = end(answers).await.expect("it was ended");
    assert!(matches!(cause, AppError::Stalled), "{cause:?}");
    assert_eq!(resume_after, service.head());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_streams_that_wait_and_streams_whose_client_does_not_read() {
    let service = Service::start().await;
    let pace = Pace { heartbeat: Duration::from_millis(1), ..PATIENT };
    let (waiting, full) =
        (service.stream(following(&[]), PATIENT), service.stream(following(&[]), pace));
    service.app().drain().begin();
    for answers in [waiting, full] {
        let (cause, _) = end(answers).await.expect("it was ended");
        assert!(matches!(cause, AppError::Draining), "{cause:?}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_revoked_meanwhile_is_shown_no_more() {
    let service = Service::start().await;
    let auditor = service.auditor().await;
    let mut answers = service.app().start_stream(&auditor, following(&[]), PATIENT, ()).unwrap();
    let head = service.head();
    while next(&mut answers).await.last() != Some(&("heartbeat", head)) {}
    let call = service.call(Method::RevokeCaller);
    service.app().revoke_caller(&call, auditor.id, String::new()).await.unwrap();
    let (cause, resume_after) = end(answers).await.expect("it was ended");
    assert!(matches!(cause, AppError::CredentialInvalid), "{cause:?}");
    assert_eq!(resume_after, head);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_until_after_its_revocation_is_shown_what_was_on_its_way_and_no_more() {
    let service = Service::start().await;
    let auditor = service.auditor().await;
    let pace = Pace { heartbeat: Duration::from_millis(1), ..PATIENT };
    let mut answers = service.app().start_stream(&auditor, following(&[]), pace, ()).unwrap();
    // The events are handed over; the heartbeat behind them has to wait.
    service.shows(|figures| figures.events > 0).await;
    let call = service.call(Method::RevokeCaller);
    service.app().revoke_caller(&call, auditor.id, String::new()).await.unwrap();
    assert!(next(&mut answers).await.iter().all(|(what, _)| *what == "event"));
    match recv(&mut answers).await {
        Some(Err(AppError::Interrupted { cause, .. })) => {
            assert!(matches!(*cause, AppError::CredentialInvalid), "{cause:?}");
        }
        other => panic!("{other:?}"),
    }
    drop(answers);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_who_follow_are_all_told_and_leave_nothing_behind() {
    let service = Service::start().await;
    let head = service.head();
    let mut many: Vec<_> = (0..2_000)
        .map(|_| service.stream(following(&[EventKind::CallerCreated]), PATIENT))
        .collect();
    for answers in &mut many {
        while next(answers).await.last() != Some(&("heartbeat", head)) {}
    }
    service.auditor().await;
    for answers in &mut many {
        assert_eq!(next(answers).await, [("event", head + 1)]);
    }
    drop(many);
    service.no_stream_is_open().await;
    // Whoever comes when the relay has ended, or is about to, is served all the same.
    let mut late =
        service.stream(StreamAsk { after: Position::new(head), ..following(&[]) }, PATIENT);
    assert_eq!(next(&mut late).await, [("event", head + 1)]);
    drop(late);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_there_is_room_for_are_refused() {
    let service = Service::start().await;
    let admin = service.admin();
    let taken: Vec<_> =
        (0..MAX_OF_ONE).map(|_| service.app().audit.streams.enter(admin.id).unwrap()).collect();
    let refused = service.app().stream_events(&admin, following(&[]), ());
    assert!(matches!(refused, Err(AppError::Overloaded { .. })), "{refused:?}");
    drop(taken);
    drop(service.app().stream_events(&admin, following(&[]), ()).unwrap());
    service.stop().await;
}
