//! Targets that call a real server with whatever bytes: every request is answered, and by the book.

use std::str::from_utf8;
use std::sync::{LazyLock, Mutex, PoisonError};

use http::Uri;
use keyledger::domain::proxied::credential::HEADERS;
use keyledger::grpc::access;
use keyledger::http::proxied::CALLER;
use keyledger::proto::{FILE_DESCRIPTOR_SET, v1};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::messages::{Rpc, rpcs};
use super::wire::{Field, Value, encode, fields};
use super::world::{Answer, World, first_message, framed};

/// After so many calls the server is stopped, and another one started: what calls have ended is there again.
const CALLS_OF_A_WORLD: usize = 400;

/// Shortest text of a request that is looked for in a refusal: shorter ones are words of ours.
pub const SHORTEST_REPEATED: usize = 12;

static WORLD: Mutex<Option<World>> = Mutex::new(None);

static RPCS: LazyLock<Vec<Rpc>> = LazyLock::new(rpcs);

/// Does something with a server that has not been called too often.
pub fn with_world<T>(run: impl FnOnce(&mut World) -> T) -> T {
    let mut place = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = place.take().unwrap_or_else(World::new);
    if world.calls() > CALLS_OF_A_WORLD {
        world.end();
        world = World::new();
    }
    let answer = run(&mut world);
    *place = Some(world);
    answer
}

/// Does away with the server that was called so far, whatever calls have ended there.
pub fn begin_anew() {
    let before = WORLD.lock().unwrap_or_else(PoisonError::into_inner).take();
    before.into_iter().for_each(World::end);
}

/// The path of an RPC, a line's end, a byte, and what is sent: a message, or with the byte's highest bit a whole body.
/// The byte's lowest bits say who calls: an admin, one who is bound to another tenant, nobody, nobody known, a key.
pub fn calls(input: &[u8]) -> bool {
    let Some(end) = input.iter().take(100).position(|byte| *byte == b'\n') else { return false };
    let (path, rest) = (from_utf8(&input[..end]), &input[end + 1..]);
    let (Ok(path), Some((how, sent))) = (path, rest.split_first()) else { return false };
    let is_path = path.starts_with('/') && path.parse::<Uri>().is_ok_and(|uri| uri.path() == path);
    if !is_path || path.starts_with("/grpc.") {
        return false;
    }
    with_world(|world| {
        let sent = world.filled_in(sent);
        let credential = match how & 7 {
            1 => Some(world.bound.clone()),
            2 => None,
            3 => Some("kl_svc_nobody".to_owned()),
            4 => Some(world.key_secret().to_owned()),
            _ => Some(world.admin.clone()),
        };
        let body = if how & 0x80 == 0 { framed(&sent) } else { sent.clone() };
        let asked = first_message(&body).is_some();
        let answer = world.call(path, credential.as_deref(), body);
        judge(world, path, &sent, asked, &answer)
    })
}

/// Holds an answer to what every answer must be; whether it is a good one. `asked` says whether a message was sent: a
/// stream of no questions has no answers.
fn judge(world: &World, path: &str, sent: &[u8], asked: bool, answer: &Answer) -> bool {
    for secret in world.secrets() {
        let found = answer.bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "{path} shows a secret");
    }
    let Some(status) = answer.status.as_ref().filter(|status| status.code() != Code::Ok) else {
        let streams = RPCS.iter().any(|rpc| rpc.path == path && rpc.streams);
        assert!(answer.message.is_some() || (!asked && streams), "{path} answers nothing");
        assert!(answer.status.is_some() || streams, "{path} ends without a status");
        return true;
    };
    let reason = reason(path, status);
    if access::find(path).is_none() {
        assert_eq!((status.code(), reason), (Code::Unimplemented, v1::ErrorReason::Unsupported));
        return false;
    }
    let faults =
        [Code::Internal, Code::Unknown, Code::DataLoss, Code::Cancelled, Code::DeadlineExceeded];
    assert!(!faults.contains(&status.code()), "{path}: {status:?}");
    for text in texts(sent) {
        // It names the field that is wrong, or the header that is missing.
        let repeated = status.message().contains(&text) && !is_our_name(&text);
        assert!(!repeated, "{path} repeats {text:?}: {status:?}");
    }
    false
}

/// The reason of a refusal, which is one of the book.
fn reason(path: &str, status: &Status) -> v1::ErrorReason {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{path}: {status:?} has no reason"));
    assert_eq!(info.domain, "keyledger");
    let reason = v1::ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason));
    reason.unwrap_or_else(|| panic!("{path}: {} is in no book", info.reason))
}

/// Whether a text is, or is a part of, a name in the API or that of a header which credentials are looked for in.
pub fn is_our_name(text: &str) -> bool {
    let mut headers = HEADERS.into_iter().chain([CALLER]);
    headers.any(|name| name.contains(text))
        || FILE_DESCRIPTOR_SET.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The long texts of a message, of those within it too.
fn texts(message: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for field in fields(message).unwrap_or_default() {
        let Value::Bytes(bytes) = field.value else { continue };
        if let Some(text) = from_utf8(&bytes).ok().filter(|text| text.len() >= SHORTEST_REPEATED) {
            found.push(text.to_owned());
        }
        found.extend(texts(&bytes));
    }
    found
}

/// The path of a list, a line's end, and a page token without its checksum: the list is asked for its page.
pub fn page_tokens(input: &[u8]) -> bool {
    let Some(end) = input.iter().take(100).position(|byte| *byte == b'\n') else { return false };
    let (path, token) = (&input[..end], &input[end + 1..]);
    let rpc = RPCS.iter().find(|rpc| rpc.path.as_bytes() == path);
    let Some((rpc, number)) = rpc.and_then(|rpc| Some((rpc, rpc.page_token?))) else {
        return false;
    };
    let mut bytes = token.to_vec();
    bytes.extend(crc32fast::hash(token).to_be_bytes());
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut request = fields(&rpc.request).expect("a message");
    request.push(Field { number, value: Value::Bytes(text.into()) });
    with_world(|world| {
        let sent = world.filled_in(&encode(&request));
        let admin = world.admin.clone();
        let answer = world.call(&rpc.path, Some(&admin), framed(&sent));
        judge(world, &rpc.path, &sent, true, &answer)
    })
}
