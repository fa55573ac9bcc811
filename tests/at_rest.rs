//! What is personal is sealed wherever it rests, and no secret rests anywhere but in its own file: every byte of a data
//! directory in use and at rest, of a backup and of exports, of a log at its finest, the metrics and the status is
//! searched.

mod common;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use common::place::{Place, grow, hex, status};
use common::process::{self, Process, contents};
use common::{Client, credential_in, new_key};
use flate2::read::GzDecoder;
use keyledger::archive::Proof;
use keyledger::domain::base62;
use keyledger::proto::v1;
use memchr::memmem;

/// Within the range that the key is bound to.
const SOURCE: &str = "2001:db8:77:6:5:4:3:2";
const AGENT: &str = "Magrathea-Agent/4711";

/// One text for each field there is that may name a person, wherever it may be given.
const PERSONAL: [&str; 17] = [
    "Zaphod Display",
    "Trillian Subject",
    "TICKET-4711",
    "Marvin Note",
    "ownerword",
    "Arthur Metadata",
    "203.0.113.0",
    "2001:db8:77::",
    "Ford Keyname",
    "Slartibartfast Comment",
    "Deep Thought Comment",
    "Tricia Callername",
    "Zarniwoop Owner",
    "Gargravarr Comment",
    "Heart of Gold Source",
    SOURCE,
    AGENT,
];

/// What is searched: where it is, and its bytes.
type Found = Vec<(PathBuf, Vec<u8>)>;

/// Something that must not be found, and what it is.
#[derive(Clone)]
struct Needle {
    what: String,
    bytes: Vec<u8>,
}

impl Needle {
    fn new(what: &str, bytes: impl AsRef<[u8]>) -> Self {
        Needle { what: what.to_owned(), bytes: bytes.as_ref().to_vec() }
    }
}

/// A secret of 32 bytes in every form that it might be written in.
fn forms(what: &str, secret: &[u8; 32]) -> Vec<Needle> {
    let small = hex(secret);
    let (large, digits) = (small.to_uppercase(), base62::encode(secret));
    let forms = [
        secret.to_vec(),
        small.into_bytes(),
        large.into_bytes(),
        digits.into_bytes(),
        // Without the last digit, which depends on what follows.
        STANDARD_NO_PAD.encode(secret).into_bytes()[..42].to_vec(),
        URL_SAFE_NO_PAD.encode(secret).into_bytes()[..42].to_vec(),
    ];
    forms.into_iter().map(|form| Needle::new(what, form)).collect()
}

fn personal() -> Vec<Needle> {
    let mut needles: Vec<_> = PERSONAL.iter().map(|text| Needle::new(text, text)).collect();
    for text in [SOURCE, "2001:db8:77::"] {
        let address: std::net::Ipv6Addr = text.parse().expect("an address");
        needles.push(Needle::new(&format!("{text}, in binary"), address.octets()));
    }
    needles
}

/// The secret in the text of a key or credential.
fn secret_of(text: &str) -> [u8; 32] {
    base62::decode(&text.as_bytes()[text.len() - 49..text.len() - 6]).expect("base62")
}

/// The key in a key file of the data directory.
fn key_in(data: &Path, file: &str) -> [u8; 32] {
    let line = std::fs::read_to_string(data.join("keys").join(file)).expect("a key file");
    base62::decode(line.split(' ').nth(2).expect("digits").as_bytes()).expect("base62")
}

/// The data keys, unwrapped as the layout of their file says.
fn data_keys(data: &Path) -> Vec<[u8; 32]> {
    let kek = Aes256GcmSiv::new((&key_in(data, "kek-1.key")).into());
    let file = std::fs::read(data.join("datakeys")).expect("there");
    let unwrap = |slot: &[u8; 128]| {
        let nonce: [u8; 12] = slot[64..76].try_into().expect("12 bytes");
        let wrapped = Payload { msg: &slot[76..124], aad: &slot[..64] };
        kek.decrypt(&nonce.into(), wrapped).expect("wrapped by it").try_into().expect("32 bytes")
    };
    file.as_chunks::<128>().0.iter().map(unwrap).collect()
}

/// The secrets in the texts of keys and credentials.
fn secrets_of(texts: &[String]) -> Vec<Needle> {
    texts.iter().flat_map(|text| forms("a secret", &secret_of(text))).collect()
}

/// The server's own keys.
fn own_keys(data: &Path) -> Vec<Needle> {
    let mut needles = Vec::new();
    for file in ["pepper-1.key", "pepper-2.key", "kek-1.key", "signing-1.key"] {
        let forms = forms(file, &key_in(data, file));
        let own = std::fs::read(data.join("keys").join(file)).expect("a key file");
        assert!(forms.iter().any(|form| memmem::find(&own, &form.bytes).is_some()), "it is found");
        needles.extend(forms);
    }
    needles.extend(data_keys(data).iter().flat_map(|key| forms("a data key", key)));
    needles
}

fn search(places: &Found, needles: &[Needle]) {
    for needle in needles {
        let finder = memmem::Finder::new(&needle.bytes);
        for (place, bytes) in places {
            assert!(finder.find(bytes).is_none(), "{} holds {}", place.display(), needle.what);
        }
    }
}

/// Searches a data directory for what is personal and for every secret, each but where it is by purpose.
fn search_data(data: &Path, texts: &[String]) {
    let mut files = contents(data);
    files.retain(|(path, _)| !path.ends_with("admin.credential"));
    search(&files, &personal());
    search(&files, &secrets_of(texts));
    files.retain(|(path, _)| !path.starts_with(data.join("keys")));
    search(&files, &own_keys(data));
}

/// Makes an account and a key with everything personal that they can have, uses and denies the key, and moves it to
/// another pepper. Answers the key's id, its secret, and the position of its event.
async fn live(admin: &Client) -> (String, String, u64) {
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        plan: "standard".to_owned(),
        display_name: "Zaphod Display".to_owned(),
        ..Default::default()
    };
    let request = v1::PutAccountRequest { account: Some(account), ..Default::default() };
    admin.accounts.clone().put_account(request).await.expect("put");
    let request = v1::CreateKeyRequest {
        metadata: [("ownerword".to_owned(), "Arthur Metadata".to_owned())].into(),
        allowed_cidrs: vec!["203.0.113.0/24".to_owned(), "2001:db8:77::/48".to_owned()],
        on_behalf_of: Some(v1::OnBehalfOf {
            subject: "Trillian Subject".to_owned(),
            ticket: "TICKET-4711".to_owned(),
            note: "Marvin Note".to_owned(),
        }),
        ..new_key("acme", "billing", "Ford Keyname")
    };
    let created = admin.keys.clone().create_key(request).await.expect("created").into_inner();
    let (key_id, position) = (created.key.expect("a key").key_id, created.position);
    use_key(admin, &created.secret).await;
    admin.admin.clone().rotate_pepper(v1::RotatePepperRequest::default()).await.expect("rotated");
    use_key(admin, &created.secret).await;
    while status(admin).await.peppers.iter().any(|one| one.version == 1 && one.keys > 0) {}
    use_key(admin, "kl_live_nonsense").await;
    (key_id, created.secret, position)
}

/// Disables, rotates, reports and revokes a key with every aside there is. Answers the secret of its successor.
async fn end_key(server: &Process, admin: &Client, key_id: String, secret: &str) -> String {
    let request = v1::DisableKeyRequest {
        key_id: key_id.clone(),
        comment: "Deep Thought Comment".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().disable_key(request).await.expect("disabled");
    let request = v1::EnableKeyRequest { key_id: key_id.clone(), ..Default::default() };
    admin.keys.clone().enable_key(request).await.expect("enabled");
    let overlap = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = v1::RotateKeyRequest { key_id: key_id.clone(), overlap, ..Default::default() };
    let rotated = admin.keys.clone().rotate_key(request).await.expect("rotated").into_inner();
    let who = server.client(&rotated.secret).await.keys.who_am_i(v1::WhoAmIRequest {}).await;
    assert!(who.is_err(), "it is bound to other sources");
    let request = v1::ReportLeakedKeyRequest {
        api_key: rotated.secret.clone(),
        source: "Heart of Gold Source".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().report_leaked_key(request).await.expect("reported");
    let request = v1::RevokeKeyRequest {
        key_id: key_id.clone(),
        comment: "Slartibartfast Comment".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().revoke_key(request).await.expect("revoked");
    use_key(admin, secret).await;
    // A read and a refused call, for the records of conduct.
    let request = v1::GetKeyTimelineRequest { key_id, ..Default::default() };
    admin.audit.clone().get_key_timeline(request).await.expect("shown");
    rotated.secret
}

/// Makes a caller with everything personal that it can have, and revokes it. Answers its credential.
async fn make_caller(admin: &Client) -> String {
    let request = v1::CreateCallerRequest {
        name: "Tricia Callername".to_owned(),
        owner: "Zarniwoop Owner".to_owned(),
        roles: vec![v1::Role::Issuer.into()],
        ..Default::default()
    };
    let made = admin.admin.clone().create_caller(request).await.expect("made").into_inner();
    let request = v1::RevokeCallerRequest {
        caller_id: made.caller.expect("a caller").caller_id,
        comment: "Gargravarr Comment".to_owned(),
        ..Default::default()
    };
    admin.admin.clone().revoke_caller(request).await.expect("revoked");
    made.credential
}

async fn use_key(admin: &Client, secret: &str) {
    let request = v1::AuthenticateRequest {
        api_key: secret.to_owned(),
        context: Some(v1::AuthenticateContext {
            action: "read".to_owned(),
            source_ip: SOURCE.to_owned(),
            user_agent: AGENT.to_owned(),
        }),
        ..Default::default()
    };
    admin.keys.clone().authenticate(request).await.expect("an answer");
}

/// Runs a client command against the server; answers what it writes.
async fn ask(place: &Place, server: &Process, arguments: &[&str]) -> Vec<u8> {
    let mut command: Command = process::command();
    command.args(arguments).args(["--server", &server.address, "--token-file"]);
    command.arg(place.path("data/admin.credential")).current_dir(place.path(""));
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    output.stdout
}

fn unpacked(place: &Place, archive: &str) -> (PathBuf, Vec<u8>) {
    let (path, mut tar) = (place.path(archive), Vec::new());
    let packed = std::fs::read(&path).expect("an archive");
    GzDecoder::new(&packed[..]).read_to_end(&mut tar).expect("gzip");
    (path, tar)
}

/// The proof file of that name, and what it holds.
fn opened(place: &Place, name: &str) -> Found {
    let path = place.path(name);
    let text = std::fs::read_to_string(&path).expect("a proof file");
    let proof = Proof::parse(&text).expect("a proof");
    vec![(path.clone(), text.into_bytes()), (path, [proof.record, proof.disclosed].concat())]
}

/// Takes the history out in every form there is. Answers what discloses what is personal, each form by itself, and
/// what does not.
async fn export(place: &Place, server: &Process, position: u64) -> (Vec<Found>, Found) {
    let position = position.to_string();
    let proof = |name| ["audit", "export", "--proof", name, "--position", &position];
    let archive = |name| ["audit", "export", "--archive", name];
    let without = |arguments: &[&'static str]| [arguments, &["--without-disclosures"]].concat();
    ask(place, server, &archive("shown.tar.gz")).await;
    ask(place, server, &without(&archive("hidden.tar.gz"))).await;
    ask(place, server, &proof("shown.tlog-proof")).await;
    ask(place, server, &[&proof("hidden.tlog-proof")[..], &["--without-disclosures"]].concat())
        .await;
    let lines = ask(place, server, &["audit", "export", "--json-lines", "-"]).await;
    let mut hidden = opened(place, "hidden.tlog-proof");
    hidden.push(unpacked(place, "hidden.tar.gz"));
    let shown = vec![
        vec![unpacked(place, "shown.tar.gz")],
        vec![("the JSON lines".into(), lines)],
        opened(place, "shown.tlog-proof"),
    ];
    (shown, hidden)
}

/// A server whose log says everything that it can.
fn serve(place: &Place) -> Process {
    let mut command = process::serve(&place.path("data"), "127.0.0.1:0");
    command.arg("--config").arg(place.path("config.toml")).env("KEYLEDGER_LOG", "trace");
    Process::spawn(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_and_no_secret_rests_anywhere_in_clear() {
    let place = Place::new();
    let data = place.path("data");
    let server = serve(&place);
    let admin = server.admin(&data).await;
    let (key_id, secret, position) = live(&admin).await;
    let successor = end_key(&server, &admin, key_id, &secret).await;
    let mut texts = vec![secret, successor, make_caller(&admin).await, credential_in(&data)];
    texts.extend(grow(&admin, 2).await);
    search_data(&data, &texts);
    let (_, first_log) = server.terminate();

    // Windows of uses and conduct are on record now; they are folded when they are asked for.
    let server = serve(&place);
    let told = ask(&place, &server, &["usage", "top", "--by", "source", "--last", "24h"]).await;
    assert!(memmem::find(&told, SOURCE.as_bytes()).is_some(), "who may see sources is shown them");
    ask(&place, &server, &["admin", "backup", "--to", "backup"]).await;
    let status = ask(&place, &server, &["admin", "status", "--output", "json"]).await;
    let (_, metrics) = process::get(&server.ops, "/metrics");
    let (shown, hidden) = export(&place, &server, position).await;

    search_data(&data, &texts);
    let names: BTreeSet<_> = contents(&data)
        .iter()
        .filter_map(|(path, _)| path.strip_prefix(&data).ok()?.components().next())
        .map(|name| name.as_os_str().to_string_lossy().into_owned())
        .collect();
    for name in ["datakeys", "keys", "ledger", "projections", "snapshots", "usage"] {
        assert!(names.contains(name), "{name} was searched: {names:?}");
    }
    let (_, second_log) = server.terminate();
    search_data(&data, &texts);
    let mut places = hidden;
    places.extend(contents(&place.path("backup")));
    places.push(("the status".into(), status));
    places.push(("the metrics".into(), metrics.into_bytes()));
    places.push(("the first log".into(), first_log.into_bytes()));
    places.push(("the second log".into(), second_log.into_bytes()));
    let secrets = [secrets_of(&texts), own_keys(&data)].concat();
    search(&places, &personal());
    search(&places, &secrets);
    // An export that discloses shows what is personal, which was chosen, and no secret.
    for (form, texts) in
        shown.iter().zip([&PERSONAL[..], &PERSONAL, &["Ford Keyname", "TICKET-4711"]])
    {
        for text in texts {
            let is_in =
                |(_, bytes): &(PathBuf, Vec<u8>)| memmem::find(bytes, text.as_bytes()).is_some();
            assert!(form.iter().any(is_in), "{} discloses {text}", form[0].0.display());
        }
        search(form, &secrets);
    }
}
