//! How a backup ends before it is whole: a client that reads nothing, a stop, a revoked caller.

use super::*;
use crate::app::call::Call;
use crate::app::callers::NewCaller;
use crate::app::startup::{Opened, open};
use crate::clock::ManualClock;
use crate::config::Config;
use crate::domain::caller::{Role, Roles};
use crate::domain::requests::Method;
use crate::domain::testing::at;
use crate::progress::Silent;
use crate::random::SystemRandom;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

struct Service {
    opened: Opened,
    _dir: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        Service::start_with(Config::default()).await
    }

    async fn start_with(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().join("data"), ..config };
        let clock = Arc::new(ManualClock::new(at(0)));
        let open = move || open(&config, clock, Arc::new(SystemRandom), &Silent).unwrap();
        let opened = tokio::task::spawn_blocking(open).await.unwrap();
        Service { opened, _dir: dir }
    }

    /// Closes it in order, which needs every backup to have let go of it.
    async fn stop(self) {
        drop(self.app().backup_room.acquire().await.unwrap());
        let Opened { app, closing, .. } = self.opened;
        drop(app);
        tokio::task::spawn_blocking(move || closing.close().unwrap()).await.unwrap();
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

    async fn operator(&self) -> Arc<Identity> {
        let new = NewCaller {
            name: "backups".to_owned(),
            owner: String::new(),
            roles: Roles::of(&[Role::Operator]),
            tenants: Vec::new(),
            expire_time: None,
            certificate_name: None,
        };
        let issued = self.app().create_caller(&self.call(Method::CreateCaller), new).await.unwrap();
        let credential = issued.credential.unwrap();
        Arc::new(self.app().identify(credential.expose()).unwrap())
    }
}

/// All that comes, and how it ends.
async fn read(mut parts: Parts) -> (Vec<Part>, Option<AppError>) {
    let mut read = Vec::new();
    while let Some(part) = parts.recv().await {
        match part {
            Ok(part) => read.push(part),
            Err(error) => return (read, Some(error)),
        }
    }
    (read, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_backup_begins_with_its_head_and_ends_with_its_end() {
    let service = Service::start().await;
    let parts = service.app().backup(&service.admin(), Have::default()).await.unwrap();
    let (parts, error) = read(parts).await;
    assert!(error.is_none(), "{error:?}");
    let Some(Part::Head(head)) = parts.first() else { panic!("{parts:?}") };
    assert_eq!(Some(head.position), service.app().table.head());
    let sent: usize =
        parts.iter().map(|part| if let Part::Data(bytes) = part { bytes.len() } else { 0 }).sum();
    let Some(Part::End { files: 2, bytes }) = parts.last() else { panic!("{parts:?}") };
    assert_eq!(*bytes, sent as u64);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_does_not_hold_a_backup_for_ever() {
    let service = Service::start().await;
    let impatient = Duration::from_millis(1);
    let have = Have::default();
    let parts = service.app().start_backup(&service.admin(), have, impatient).await.unwrap();
    // Its room is free again, though nothing has been read.
    drop(service.app().backup_room.acquire().await.unwrap());
    let (read, error) = read(parts).await;
    assert_eq!(read.len(), PARTS_WAITING);
    assert!(matches!(error, Some(AppError::Stalled)), "{error:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_backup_whose_client_waits() {
    let service = Service::start().await;
    let have = Have::default();
    let parts = service.app().start_backup(&service.admin(), have, LONG).await.unwrap();
    service.app().drain().begin();
    drop(service.app().backup_room.acquire().await.unwrap());
    let (_, error) = read(parts).await;
    assert!(matches!(error, Some(AppError::Draining)), "{error:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_until_a_tail_is_packed() {
    let service = Service::start().await;
    let app = service.app();
    let (parts, _receiver) = channel(1);
    let sending = Sending {
        app: Arc::clone(app),
        identity: service.admin(),
        runtime: Handle::current(),
        parts,
        patience: LONG,
        _room: Arc::clone(&app.backup_room).try_acquire_owned().unwrap(),
    };
    let mut asked = 0;
    let head = app.table.head().unwrap();
    let packed = pack_tail(&*app.reader, None, head, &app.vitals.packing, || {
        asked += 1;
        if asked == 2 {
            app.drain().begin();
        }
        sending.may_go_on()
    });
    assert!(matches!(packed, Err(Ended::With(AppError::Draining))), "{packed:?}");
    assert_eq!(asked, 2);
    drop(sending);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_backup_at_a_time_and_a_client_that_goes_makes_room() {
    let service = Service::start().await;
    let app = service.app();
    let first = app.start_backup(&service.admin(), Have::default(), LONG).await.unwrap();
    let second = app.backup(&service.admin(), Have::default()).await;
    assert!(matches!(second, Err(AppError::BackupUnderWay { .. })), "{second:?}");
    drop(first);
    drop(app.backup_room.acquire().await.unwrap());
    drop(app.backup(&service.admin(), Have::default()).await.unwrap());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_revoked_meanwhile_gets_no_more() {
    let service = Service::start().await;
    let (app, operator) = (service.app(), service.operator().await);
    let parts = app.start_backup(&operator, Have::default(), LONG).await.unwrap();
    let call = service.call(Method::RevokeCaller);
    app.revoke_caller(&call, operator.id, String::new()).await.unwrap();
    let (read, error) = read(parts).await;
    assert!(matches!(error, Some(AppError::CredentialInvalid)), "{error:?}");
    // What waited, and the part that was being handed on.
    assert!(read.len() <= PARTS_WAITING + 1, "{}", read.len());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_waits_for_its_client_ends_with_the_credential_of_its_caller() {
    let service = Service::start().await;
    let (app, operator) = (service.app(), service.operator().await);
    let parts = app.start_backup(&operator, Have::default(), LONG).await.unwrap();
    while parts.len() < PARTS_WAITING {
        tokio::task::yield_now().await;
    }
    let call = service.call(Method::RevokeCaller);
    app.revoke_caller(&call, operator.id, String::new()).await.unwrap();
    // Nothing is read, and the room for the next is there all the same.
    drop(app.backup_room.acquire().await.unwrap());
    let (_, error) = read(parts).await;
    assert!(matches!(error, Some(AppError::CredentialInvalid)), "{error:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_another_log_is_not_continued() {
    let service = Service::start().await;
    let (app, admin) = (service.app(), service.admin());
    let head = app.table.head().unwrap();
    let root = tree_at(&*app.reader, head).unwrap().root();
    let asks = [
        Have { after_volume: 0, head: Some((head, Hash([0; 32]))) },
        Have { after_volume: 0, head: Some((head.next(), root)) },
        Have { after_volume: 1, head: Some((head, root)) },
    ];
    for have in asks {
        let refused = app.backup(&admin, have).await;
        assert!(matches!(refused, Err(AppError::BackupOfOtherLog)), "{have:?}");
    }
    let have = Have { after_volume: 0, head: Some((head, root)) };
    let (_, error) = read(app.backup(&admin, have).await.unwrap()).await;
    assert!(error.is_none(), "{error:?}");
    service.stop().await;
}

/// How many files the ledger has but for the volumes of the engine, of which a new one may be on its way.
fn beside_the_engine(ledger: &std::path::Path) -> usize {
    let names = std::fs::read_dir(ledger).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| !name.to_string_lossy().starts_with("live-")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_was_not_finished_leaves_no_file() {
    let service = Service::start().await;
    let (reader, head) = (&*service.app().reader, service.app().table.head().unwrap());
    let (ledger, packing) = (&service.app().vitals.ledger, &service.app().vitals.packing);
    let files = || beside_the_engine(ledger);
    let before = files();
    let mut asked = 0;
    let stopped = pack_tail(reader, None, head, packing, || {
        asked += 1;
        if asked > 1 { Err(AppError::Draining) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(AppError::Draining)), "{stopped:?}");
    let beyond = pack_tail(reader, None, head.next(), packing, || Ok::<_, AppError>(()));
    assert!(beyond.is_err(), "{beyond:?}");
    assert_eq!(files(), before);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_would_take_what_the_log_needs_of_its_disk_is_refused_before_it_begins() {
    // Volumes that no disk has room for.
    let mut config = Config::default();
    config.ledger.volume_bytes = 1 << 60;
    let service = Service::start_with(config).await;
    let (app, ledger) = (service.app(), &service.app().vitals.ledger);
    let files = || beside_the_engine(ledger);
    let before = files();
    let refused = app.backup(&service.admin(), Have::default()).await;
    let Err(AppError::NoRoomForBackup { needed, free }) = refused else { panic!("{refused:?}") };
    assert!(needed > 3 << 60 && free < 1 << 60, "{needed} {free}");
    // The same if the room is gone when the tail's turn comes.
    let head = app.table.head().unwrap();
    let packed = pack_tail(&*app.reader, None, head, &app.vitals.packing, || Ok::<_, AppError>(()));
    assert!(matches!(packed, Err(AppError::NoRoomForBackup { .. })), "{packed:?}");
    assert_eq!(files(), before);
    service.stop().await;
}
