//! The target that sends whatever requests to the HTTP port of a real server: each is answered, and lets through nobody
//! who does not bring a key.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use http::Uri;
use keyledger::domain::proxied::query;
use keyledger::http::proxied::AUTHZ;
use keyledger::http::who_am_i::WHO_AM_I;
use memchr::memmem;

use super::calls::{SHORTEST_REPEATED, is_our_name, with_world};
use super::world::{LONGEST, World};

/// What a stand-in is replaced by.
type Real = fn(&World) -> &str;

/// Stand for the credential of an admin, that of a caller which is bound to another tenant, and the secret of a key:
/// words so short that most changes are elsewhere.
const STAND_INS: [(&str, Real); 3] = [
    ("ADMIN", |world| &world.admin),
    ("BOUND", |world| &world.bound),
    ("SECRET", |world| world.key_secret()),
];

/// What was answered.
struct Answer {
    status: u16,
    body: Vec<u8>,
    /// All of it, head and body.
    bytes: Vec<u8>,
}

/// A line of method, path and query, and a line of each header. What is behind an empty line is behind the head.
pub fn http_requests(input: &[u8]) -> bool {
    with_world(|world| {
        let input = filled_in(world, input);
        let mut lines = input.split(|byte| *byte == b'\n');
        let first = lines.next().expect("there is always a first");
        let mut request = [first, b" HTTP/1.1\r\nhost: k\r\nconnection: close\r\n"].concat();
        for line in lines {
            request.extend([line, b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        let answer = exchange(world.http(), &request);
        judge(world, &input, first, &answer)
    })
}

fn filled_in(world: &World, input: &[u8]) -> Vec<u8> {
    let mut filled = input.to_vec();
    for (stand_in, real) in STAND_INS {
        let found: Vec<_> = memmem::find_iter(&filled, stand_in).collect();
        for at in found.into_iter().rev() {
            filled.splice(at..at + stand_in.len(), real(world).bytes());
        }
    }
    filled
}

/// Sends a request on a connection of its own; what is answered to the first of all that it may hold.
fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the server is there");
    stream.set_read_timeout(Some(LONGEST)).expect("set");
    // One that refuses a head may close before it has read all of it.
    let _ = stream.write_all(request);
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(answer) = whole(&bytes, request.starts_with(b"HEAD ")) {
            return answer;
        }
        let read = stream.read(&mut part).expect("answered in time");
        assert!(read > 0, "no answer, or a part of one: {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend(&part[..read]);
    }
}

/// An answer, if these bytes are a whole one.
fn whole(bytes: &[u8], is_head_alone: bool) -> Option<Answer> {
    let (head, body) = bytes.split_at_checked(memmem::find(bytes, b"\r\n\r\n")? + 4)?;
    let head = std::str::from_utf8(head).expect("text");
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status: {head}"));
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map(|length| length.parse::<usize>().expect("a number"));
    let is_whole = is_head_alone || body.len() >= length.expect("told");
    is_whole.then(|| Answer { status, body: body.to_vec(), bytes: bytes.to_vec() })
}

/// Holds an answer to what every answer must be; whether it lets through.
fn judge(world: &World, input: &[u8], first: &[u8], answer: &Answer) -> bool {
    let told = || format!("{}: {}", first.escape_ascii(), answer.bytes.escape_ascii());
    for secret in world.secrets() {
        assert!(memmem::find(&answer.bytes, secret.as_bytes()).is_none(), "it shows a secret");
    }
    let asked = first.splitn(2, |byte| *byte == b' ').collect::<Vec<_>>();
    let target = asked.get(1).and_then(|target| Uri::try_from(*target).ok()).unwrap_or_default();
    let is_asked = ["GET", "HEAD"].iter().any(|method| method.as_bytes() == asked[0]);
    let (authz, who_am_i) = (target.path() == AUTHZ, target.path() == WHO_AM_I);
    let brings = |text: &String| memmem::find(input, text.as_bytes()).is_some();
    let of_proxy = authz && (brings(&world.admin) || brings(&world.bound));
    let with_key =
        world.secrets().iter().any(|secret| secret.starts_with("kl_live_") && brings(secret));
    let anonymous = query::pairs(target.query().unwrap_or_default())
        .is_some_and(|pairs| pairs.contains(&("anonymous".to_owned(), "true".to_owned())));
    let holds = match answer.status {
        200 => is_asked && (with_key && (of_proxy || who_am_i) || anonymous && of_proxy),
        // Of the client: a proxy that may not ask is never told so.
        401 | 403 | 429 => is_asked && (of_proxy || who_am_i),
        404 => !authz && !who_am_i,
        405 => !is_asked && (authz || who_am_i),
        // No head of HTTP, or too much of one.
        400 | 414 | 431 => true,
        500 => is_asked && authz && answer.body != b"internal error\n",
        503 => is_asked && (authz || who_am_i),
        _ => false,
    };
    assert!(holds, "{}", told());
    for text in texts(input).filter(|_| answer.status >= 400) {
        let repeated = memmem::find(&answer.body, text).is_some()
            && !std::str::from_utf8(text).is_ok_and(is_our_name);
        assert!(!repeated, "it repeats what was sent: {}", told());
    }
    answer.status == 200
}

/// The long values of a query and of headers.
fn texts(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pairs = input.split(|byte| b"\n?&".contains(byte));
    let values = pairs.filter_map(|pair| pair.splitn(2, |byte| b"=:".contains(byte)).nth(1));
    values.map(<[u8]>::trim_ascii).filter(|value| value.len() >= SHORTEST_REPEATED)
}
