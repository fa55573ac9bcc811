//! Targets that read text: keys, names, permissions, ranges, times, settings, manifests.

use std::net::IpAddr;
use std::str::from_utf8;
use std::time::Duration;

use keyledger::backup_dir::{Digest32, Manifest};
use keyledger::config::Config;
use keyledger::domain::base62;
use keyledger::domain::ids::{AccountId, CallerId, KeyId, TenantId};
use keyledger::domain::key_format::{self, KeyPrefix, KeyProblem};
use keyledger::domain::permission::{Permission, Permissions, PlanName, RoleName};
use keyledger::domain::source::{SourceRange, Sources, parse_source};
use keyledger::domain::time::Time;
use sha2::{Digest, Sha256};

/// A key that is taken is written again as it was given.
pub fn keys(input: &[u8]) -> bool {
    let Ok(text) = from_utf8(input) else { return false };
    let whole = key(text);
    let mut resealed = text.to_owned();
    let checked = text.len().saturating_sub(6);
    if text.is_char_boundary(checked) {
        resealed.truncate(checked);
        let check = crc32fast::hash(resealed.as_bytes()).to_be_bytes();
        base62::append(&check, &mut resealed);
        key(&resealed);
    }
    whole
}

fn key(text: &str) -> bool {
    let prefix = KeyPrefix::default();
    match key_format::parse(&prefix, text) {
        Ok(found) => {
            let again = key_format::render(&prefix, found.environment, &found.id, &found.secret);
            assert_eq!(again.expose(), text);
            let shown = format!("{found:?}");
            assert!(!shown.contains(&text[text.len() - 49..]), "Debug shows the secret");
            true
        }
        // A problem is one of a few, and holds no text.
        Err(KeyProblem::HasScheme) => false,
        Err(problem) => {
            let spaces = |c: char| c.is_whitespace() || c.is_control();
            assert_eq!(problem == KeyProblem::HasWhitespace, text.contains(spaces));
            false
        }
    }
}

/// What is decoded is encoded again as it was, and is what plain long multiplication says.
pub fn base62(input: &[u8]) -> bool {
    let found =
        [of_width::<4>(input), of_width::<12>(input), of_width::<16>(input), of_width::<32>(input)];
    found.contains(&true)
}

fn of_width<const N: usize>(digits: &[u8]) -> bool {
    let found = base62::decode::<N>(digits);
    assert_eq!(found, plainly::<N>(digits));
    if let Some(bytes) = &found {
        assert_eq!(base62::encode(bytes).as_bytes(), digits);
    }
    found.is_some()
}

/// The value of digits, by multiplying bytes one digit at a time.
fn plainly<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut value = [0_u8; N];
    if digits.len() != base62::width(N) {
        return None;
    }
    for digit in digits {
        let mut carry = u32::from(match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'Z' => digit - b'A' + 10,
            b'a'..=b'z' => digit - b'a' + 36,
            _ => return None,
        });
        for byte in value.iter_mut().rev() {
            let product = u32::from(*byte) * 62 + carry;
            *byte = product.to_le_bytes()[0];
            carry = product >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(value)
}

/// A name is shown as it was given, and holds nothing that means something elsewhere.
pub fn ids(input: &[u8]) -> bool {
    let Ok(text) = from_utf8(input) else { return false };
    let plain =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b));
    let shown = [
        TenantId::parse(text).ok().map(|id| id.to_string()),
        AccountId::parse(text).ok().map(|id| id.to_string()),
        KeyId::parse(text).map(|id| id.to_string()),
        CallerId::parse(text).map(|id| id.to_string()),
        PlanName::parse(text).ok().map(|name| name.to_string()),
        RoleName::parse(text).ok().map(|name| name.to_string()),
        KeyPrefix::parse(text).ok().map(|prefix| prefix.to_string()),
    ];
    for again in shown.iter().flatten() {
        assert_eq!(again, text);
        assert!(plain(text) && (1..=128).contains(&text.len()));
    }
    shown.iter().any(Option::is_some)
}

/// Lines of permissions: what covers what is the same said of the sets and of their parts.
pub fn permissions(input: &[u8]) -> bool {
    let Ok(text) = from_utf8(input) else { return false };
    let all: Vec<_> = text.split('\n').map(Permission::parse).collect();
    for (line, parsed) in text.split('\n').zip(&all) {
        assert_eq!(parsed.is_ok(), is_permission(line), "{line:?}");
        assert_eq!(Permission::check(line).err(), parsed.as_ref().err().copied());
        if let Ok(parsed) = parsed {
            assert_eq!(parsed.as_str(), line);
            assert!(parsed.covers(parsed));
        }
    }
    let mut good: Vec<_> = all.into_iter().flatten().take(24).collect();
    let taken = !good.is_empty();
    let half = good.split_off(good.len() / 2);
    let (held, scopes) = (Permissions::new(good), Permissions::new(half));
    let narrowed = held.narrowed_by(&scopes);
    for one in held.iter().chain(scopes.iter()) {
        let both = held.cover(one) && scopes.cover(one);
        assert_eq!(narrowed.cover(one), both, "{one} of {held:?} narrowed by {scopes:?}");
        assert_eq!(held.cover(one), held.cover_text(one.as_str()));
        assert!(held.union(&scopes).cover(one));
    }
    taken
}

/// What a permission is, said another way: parts of good characters, the last of which may be a star.
fn is_permission(line: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
    let parts: Vec<_> = line.split(':').collect();
    let (last, before) = parts.split_last().expect("a text has a part");
    let is_part = |part: &&str| !part.is_empty() && part.chars().all(good);
    line.len() <= 128 && before.iter().all(is_part) && (*last == "*" || is_part(last))
}

/// A range and a source, each on a line: a range is written in one form, which is the range, and holds what
/// comparing bits says.
pub fn ranges(input: &[u8]) -> bool {
    let Ok(text) = from_utf8(input) else { return false };
    let (range, source) = text.split_once('\n').unwrap_or((text, ""));
    let source = parse_source(source);
    if let Some(source) = source {
        assert_eq!(parse_source(&source.to_string()), Some(source));
    }
    let Ok(parsed) = SourceRange::parse(range) else { return false };
    let form = parsed.to_string();
    assert_eq!(SourceRange::parse(&form), Ok(parsed));
    let (network, bits) = form.split_once('/').expect("a form has its bits");
    let network: IpAddr = network.parse().expect("an address");
    let bits: u32 = bits.parse().expect("a number");
    assert!(parsed.contains(network));
    if let Some(source) = source {
        let inside = match (network, source) {
            (IpAddr::V4(network), IpAddr::V4(source)) => {
                let differ = u32::from(network) ^ u32::from(source);
                differ.leading_zeros() >= bits
            }
            (IpAddr::V6(network), IpAddr::V6(source)) => {
                let differ = u128::from(network) ^ u128::from(source);
                differ.leading_zeros() >= bits
            }
            _ => false,
        };
        assert_eq!(parsed.contains(source), inside, "{form} and {source}");
        assert_eq!(Sources::requested(vec![parsed]).admits(Some(source)), inside);
    }
    true
}

/// Any two instants and a span: nothing overflows, moving forward never goes back, and months follow days.
pub fn times(input: &[u8]) -> bool {
    let Some(numbers) = input.first_chunk::<24>() else { return false };
    let (eights, _) = numbers.as_chunks::<8>();
    let [one, other, span] = eights else { return false };
    let (one, other) = (i64::from_be_bytes(*one), i64::from_be_bytes(*other));
    let (one, other) = (Time::from_micros(one), Time::from_micros(other));
    let span = Duration::from_micros(u64::from_be_bytes(*span));
    let (low, high) = (one.min(other), one.max(other));
    assert_eq!(low.since(high), Duration::ZERO);
    assert!(low.month() <= high.month());
    if high <= Time::MAX {
        assert!(high.plus(span) >= high && high.minus(span) <= high);
        assert!(low.plus(high.since(low)) <= high);
    }
    assert!(!format!("{one}").is_empty());
    true
}

/// Settings, or a refusal that shows no value.
pub fn config(input: &[u8]) -> bool {
    let Ok(text) = from_utf8(input) else { return false };
    match Config::parse(text) {
        Ok(_) => true,
        Err(refused) => {
            let told = refused.to_string();
            assert!(told.len() < 2_000, "a long refusal");
            let values = text.lines().filter_map(|line| line.split_once("= \""));
            for (_, value) in values {
                let value = value.split('"').next().unwrap_or_default();
                assert!(value.len() < 12 || !told.contains(value), "{told:?} shows {value:?}");
            }
            false
        }
    }
}

/// A manifest that is taken is written again as it was, and names no file outside its directory.
pub fn manifests(input: &[u8]) -> bool {
    let whole = manifest(input);
    let behind = input.len().saturating_sub(72);
    if input[behind..].starts_with(b"sha256 ") {
        let sum = Digest32(Sha256::digest(&input[..behind]).into());
        manifest(&[&input[..behind], format!("sha256 {sum}\n").as_bytes()].concat());
    }
    whole
}

fn manifest(input: &[u8]) -> bool {
    let Ok(manifest) = Manifest::parse(input) else { return false };
    assert_eq!(manifest.render().as_bytes(), input);
    assert!(manifest.is_whole());
    for name in manifest.names() {
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name:?}");
    }
    true
}
