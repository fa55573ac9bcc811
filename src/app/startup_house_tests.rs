//! A data directory to start on, and a started service that is asked as its edge would ask it.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use tempfile::TempDir;

use super::super::*;
use crate::app::call::Call;
use crate::app::create_key::NewKey;
use crate::app::identify::Identity;
use crate::app::key_view::KeyView;
use crate::app::put_account::AccountChange;
use crate::app::rotate_key::OldKeyEnds;
use crate::clock::ManualClock;
use crate::domain::account::AccountStatus;
use crate::domain::event::Recorded;
use crate::domain::ids::{AccountRef, KeyId, Position};
use crate::domain::key::RevokeReason;
use crate::domain::key_format::Environment;
use crate::domain::requests::Method;
use crate::domain::source::SourceRange;
use crate::domain::testing::{account, at, permissions, plan_name, tenant};
use crate::ledger::frame::Frame;
use crate::ledger::record;
use crate::progress::Silent;
use crate::random::SystemRandom;

/// Where a service may be started.
pub(super) struct Place {
    pub(super) config: Config,
    pub(super) clock: Arc<ManualClock>,
    pub(super) random: Arc<SystemRandom>,
    _home: TempDir,
}

impl Place {
    /// A data directory that is not there yet.
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = Config { data_dir: home.path().join("data"), ..Config::default() };
        let clock = Arc::new(ManualClock::new(at(0)));
        Place { config, clock, random: Arc::new(SystemRandom), _home: home }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.config.data_dir.join(name)
    }

    pub(super) fn open(&self) -> Result<Opened, StartError> {
        open(&self.config, self.clock.clone(), self.random.clone(), &Silent)
    }

    pub(super) fn open_offline(&self) -> Result<Opened, StartError> {
        open_offline(&self.config, self.clock.clone(), self.random.clone(), &Silent)
    }

    pub(super) fn start(&self) -> House {
        House { opened: self.open().unwrap() }
    }

    /// What a start is refused with.
    pub(super) fn refusal(&self) -> StartError {
        self.open().expect_err("the start is refused")
    }

    /// A first start interrupted before its last step.
    pub(super) fn without_admin(&self) {
        let mut data_dir = DataDir::open_or_prepare(&self.config.data_dir).unwrap();
        initialise(&mut data_dir, &self.path("keys"), &*self.random).unwrap();
        drop(data_dir);
        let house = House { opened: self.open_offline().unwrap() };
        record_own_facts(&house.opened.app, &self.config).unwrap();
        house.close();
    }

    /// Starts on what an interrupted start left, then once more: there is one admin, whose
    /// credential works both times.
    pub(super) fn must_start_and_restart(&self, after: &str) {
        let opened = self.open().unwrap_or_else(|error| panic!("after {after}: {error}"));
        let house = House { opened };
        assert!(house.opened.new_admin.is_some(), "after {after}");
        let (admin, head) = (house.admin().id, house.head());
        assert_eq!(
            head.map(Position::get),
            Some(4),
            "pepper, policy, admin, signing key after {after}"
        );
        house.close();
        let house = self.start();
        assert_eq!((house.admin().id, house.head()), (admin, head), "after {after}");
        assert_eq!(house.opened.app.table.callers().len(), 1, "after {after}");
        house.close();
    }

    /// Every record of the log.
    pub(super) fn facts(&self) -> Vec<Recorded> {
        let ledger =
            VolumeLedger::open(&self.path("ledger"), self.config.ledger.volume_bytes).unwrap();
        let frames: Vec<Frame> =
            ledger.reader().frames_from(Position::FIRST).collect::<Result<_, _>>().unwrap();
        ledger.close().unwrap();
        let records = frames.iter().flat_map(Frame::records);
        records.map(|(_, bytes)| record::decode(bytes).unwrap()).collect()
    }
}

/// Every file below `path` with its bytes, and every directory. What a running service takes away meanwhile is
/// left out.
pub(super) fn tree(path: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in unless_gone(fs::read_dir(path)).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, None);
        } else if let Some(bytes) = unless_gone(fs::read(&path)) {
            found.insert(path, Some(bytes));
        }
    }
    found
}

fn unless_gone<T>(read: io::Result<T>) -> Option<T> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.unwrap()),
    }
}

/// Copies what is below `from` to `to`, which must not be there.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A started service.
pub(super) struct House {
    pub(super) opened: Opened,
}

impl House {
    pub(super) fn close(self) {
        let Opened { app, closing, .. } = self.opened;
        drop(app);
        closing.close().unwrap();
    }

    pub(super) fn head(&self) -> Option<Position> {
        self.opened.app.table.head()
    }

    /// The admin of the credential in the data directory.
    pub(super) fn admin(&self) -> Identity {
        let text = fs::read_to_string(self.opened.closing.admin_credential()).unwrap();
        self.opened.app.identify(text.trim_end()).unwrap()
    }

    pub(super) fn call(&self, method: Method) -> Call {
        let identity = Arc::new(self.admin());
        Call { identity, method, trace_id: None, request: None, on_behalf_of: None }
    }

    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    /// Puts `acme/<name>` on the plan `standard` with the permission `a:*`.
    pub(super) fn put_account(&self, name: &str, status: AccountStatus) {
        let change = AccountChange {
            display_name: Some(format!("the account {name}")),
            plan: Some(plan_name("standard")),
            permissions: Some(permissions(&["a:*"])),
            status: Some(status),
            ..AccountChange::default()
        };
        let (app, call) = (&self.opened.app, self.call(Method::PutAccount));
        self.wait(app.put_account(&call, AccountRef::clone(&account(name)), &change)).unwrap();
    }

    pub(super) fn create_key(&self, name: &str, cidrs: &[&str]) -> KeyId {
        let new = NewKey {
            account: AccountRef::clone(&account(name)),
            name: format!("a key of {name}"),
            scopes: None,
            environment: Environment::Live,
            expire_time: None,
            allowed_cidrs: cidrs.iter().map(|text| SourceRange::parse(text).unwrap()).collect(),
            metadata: BTreeMap::new(),
        };
        let call = self.call(Method::CreateKey);
        let (issued, _, _) = self.wait(self.opened.app.create_key(&call, new)).unwrap();
        issued.view.id
    }

    pub(super) fn rotate(&self, key: KeyId) {
        let (call, overlap) = (self.call(Method::RotateKey), std::time::Duration::from_hours(1));
        let ends = OldKeyEnds { overlap, when_idle_for: None };
        let rotate = self.opened.app.rotate_key(&call, key, ends, RevokeReason::Superseded);
        self.wait(rotate).unwrap();
    }

    pub(super) fn revoke(&self, key: KeyId) {
        let (call, reason) = (self.call(Method::RevokeKey), RevokeReason::KeyCompromise);
        let comment = "left in a screenshot".to_owned();
        self.wait(self.opened.app.revoke_key(&call, key, reason, comment)).unwrap();
    }

    pub(super) fn view(&self, key: KeyId) -> KeyView {
        self.wait(self.opened.app.get_key(&self.admin(), key)).unwrap()
    }

    /// Whether the key's sources admit an address.
    pub(super) fn admits(&self, key: KeyId, source: &str) -> bool {
        let source: IpAddr = source.parse().unwrap();
        let row = self.opened.app.table.row(&key).unwrap();
        row.key.limits.is_none_or(|limits| limits.sources.admits(Some(source)))
    }

    /// All that the table holds, in words.
    pub(super) fn picture(&self) -> String {
        let table = &self.opened.app.table;
        let (directory, acme) = (table.directory(), tenant("acme"));
        let mut words = format!("{:?} {:?} {:?}\n", table.head(), table.policy(), table.callers());
        for account in directory.accounts(&acme, None, 100) {
            let name = AccountRef { tenant: acme.clone(), account };
            words.push_str(&format!("{name:?} {:?}\n", table.standing(&name)));
        }
        for (time, id) in directory.keys(&acme, None, None, 100) {
            let row = table.row(&id).unwrap();
            let tag = row.key.tag.as_bytes().to_owned();
            words.push_str(&format!("{time} {id} {:?} {tag:?}\n", row.key));
        }
        words
    }
}
