//! What is personal is sealed wherever it rests, and no secret rests anywhere but in its own file: every byte of a data
//! directory in use and at rest, of a backup and of exports, of the log, the metrics and the status is searched.

mod common;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use common::place::{Place, grow, hex};
use common::process::{self, Process, contents};
use common::{Client, credential_in, new_key};
use flate2::read::GzDecoder;
use keyledger::domain::base62;
use keyledger::proto::v1;
use memchr::memmem;

const SOURCE: &str = "2001:db8:77:6:5:4:3:2";
const AGENT: &str = "Magrathea-Agent/4711";
const PERSONAL: [&str; 9] = [
    "Zaphod Display",
    "Trillian Subject",
    "Marvin Note",
    "Arthur Metadata",
    "Ford Keyname",
    "Slartibartfast Comment",
    "Tricia Callername",
    SOURCE,
    AGENT,
];

/// Something that must not be found, and what it is.
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
    let address: std::net::Ipv6Addr = SOURCE.parse().expect("an address");
    let mut needles: Vec<_> = PERSONAL.iter().map(|text| Needle::new(text, text)).collect();
    needles.push(Needle::new("the source, in binary", address.octets()));
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

/// Every secret there is, given the texts of keys and credentials.
fn secrets(data: &Path, texts: &[String]) -> Vec<Needle> {
    let mut needles: Vec<_> =
        texts.iter().flat_map(|text| forms("a secret", &secret_of(text))).collect();
    for file in ["pepper-1.key", "kek-1.key", "signing-1.key"] {
        let forms = forms(file, &key_in(data, file));
        let own = std::fs::read(data.join("keys").join(file)).expect("a key file");
        assert!(forms.iter().any(|form| memmem::find(&own, &form.bytes).is_some()), "it is found");
        needles.extend(forms);
    }
    needles.extend(data_keys(data).iter().flat_map(|key| forms("a data key", key)));
    needles
}

fn search(places: &[(PathBuf, Vec<u8>)], needles: &[Needle]) {
    for needle in needles {
        let finder = memmem::Finder::new(&needle.bytes);
        for (place, bytes) in places {
            assert!(finder.find(bytes).is_none(), "{} holds {}", place.display(), needle.what);
        }
    }
}

/// The files of a data directory but those whose content is a secret by purpose.
fn files(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = contents(data);
    files.retain(|(path, _)| {
        !path.starts_with(data.join("keys")) && !path.ends_with("admin.credential")
    });
    files
}

/// Gives a key everything personal, uses and denies it; answers the secrets.
async fn live(admin: &Client) -> Vec<String> {
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
        metadata: [("owner".to_owned(), "Arthur Metadata".to_owned())].into(),
        on_behalf_of: Some(v1::OnBehalfOf {
            subject: "Trillian Subject".to_owned(),
            note: "Marvin Note".to_owned(),
            ..Default::default()
        }),
        ..new_key("acme", "billing", "Ford Keyname")
    };
    let created = admin.keys.clone().create_key(request).await.expect("created").into_inner();
    let unknown = created.secret.clone();
    let key_id = created.key.expect("a key").key_id;
    use_key(admin, &created.secret).await;
    let request = v1::RevokeKeyRequest {
        key_id: key_id.clone(),
        comment: "Slartibartfast Comment".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().revoke_key(request).await.expect("revoked");
    use_key(admin, &created.secret).await;
    use_key(admin, "kl_live_nonsense").await;
    let request = v1::CreateCallerRequest {
        name: "Tricia Callername".to_owned(),
        roles: vec![v1::Role::Issuer.into()],
        ..Default::default()
    };
    let caller = admin.admin.clone().create_caller(request).await.expect("made").into_inner();
    // A read and a refused call, for the records of conduct.
    let request = v1::GetKeyTimelineRequest { key_id, ..Default::default() };
    admin.audit.clone().get_key_timeline(request).await.expect("shown");
    vec![unknown, caller.credential]
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
    let mut texts = live(&admin).await;
    texts.push(credential_in(&data));
    grow(&admin, 2).await;
    let in_use = files(&data);
    search(&in_use, &personal());
    search(&in_use, &secrets(&data, &texts));
    let (_, first_log) = server.terminate();

    // Windows of uses and conduct are on record now; they are folded when they are asked for.
    let server = serve(&place);
    let told = ask(&place, &server, &["usage", "top", "--by", "source", "--last", "24h"]).await;
    assert!(memmem::find(&told, SOURCE.as_bytes()).is_some(), "who may see sources is shown them");
    ask(&place, &server, &["admin", "backup", "--to", "backup"]).await;
    let status = ask(&place, &server, &["admin", "status", "--output", "json"]).await;
    let (_, metrics) = process::get(&server.ops, "/metrics");
    ask(&place, &server, &["audit", "export", "--archive", "shown.tar.gz"]).await;
    let hidden = ["audit", "export", "--archive", "hidden.tar.gz", "--without-disclosures"];
    ask(&place, &server, &hidden).await;

    let needles = (personal(), secrets(&data, &texts));
    let mut places = files(&data);
    let names: BTreeSet<_> = places
        .iter()
        .filter_map(|(path, _)| path.strip_prefix(&data).ok()?.components().next())
        .map(|name| name.as_os_str().to_string_lossy().into_owned())
        .collect();
    for name in ["datakeys", "ledger", "projections", "snapshots", "usage"] {
        assert!(names.contains(name), "{name} was searched: {names:?}");
    }
    places.extend(contents(&place.path("backup")));
    places.push(unpacked(&place, "hidden.tar.gz"));
    places.push(("the status".into(), status));
    places.push(("the metrics".into(), metrics.into_bytes()));
    let (_, second_log) = server.terminate();
    places.push(("the first log".into(), first_log.into_bytes()));
    places.push(("the second log".into(), second_log.into_bytes()));
    places.extend(files(&data));
    search(&places, &needles.0);
    search(&places, &needles.1);
    // An export that discloses shows what is personal, which was chosen, and no secret.
    let shown = unpacked(&place, "shown.tar.gz");
    for text in PERSONAL {
        assert!(memmem::find(&shown.1, text.as_bytes()).is_some(), "{text} is disclosed");
    }
    search(&[shown], &needles.1);
}
