//! Pages of lists. A page token names the place after which the next page begins, and is good only
//! for the list it was made for.

use sha2::{Digest, Sha256};

use crate::app::error::AppError;

/// How many entries a page holds if the caller does not say.
pub const DEFAULT_PAGE_SIZE: usize = 50;

/// The most entries of a page.
pub const MAX_PAGE_SIZE: usize = 1000;

/// The most characters of a page token: room for the longest cursor, which names bucket, tenant, account and
/// action of a row of uses.
pub const MAX_TOKEN_LEN: usize = 1_200;

const VERSION: u8 = 1;
const LIST_BYTES: usize = 8;
const CHECK_BYTES: usize = 4;

/// Which page of which list is asked for.
#[derive(Debug)]
pub struct PageRequest {
    /// How many entries it may hold.
    pub size: usize,
    /// The token of the page before; empty for the first page.
    pub token: String,
    /// Names the list: the RPC and everything that chooses or orders its entries.
    pub list: Vec<u8>,
}

/// A page of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// Its entries, in the list's order. May be fewer than were asked for.
    pub items: Vec<T>,
    /// The token of the next page; none after the last.
    pub next: Option<String>,
}

impl PageRequest {
    /// The token of the page that begins after `cursor`: version, list, cursor and checksum in hex.
    pub(crate) fn token(&self, cursor: &[u8]) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.list_name());
        bytes.extend(cursor);
        let check = crc32fast::hash(&bytes);
        bytes.extend(check.to_be_bytes());
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The place after which this page begins; none for the first page.
    ///
    /// # Errors
    /// [`AppError::Invalid`] if the token is damaged or was made for another list.
    pub(crate) fn cursor<T>(
        &self,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, AppError> {
        if self.token.is_empty() {
            return Ok(None);
        }
        let found = self.open_token().as_deref().and_then(decode);
        let wrong = "must be the next_page_token of the same list with the same filter";
        found.map(Some).ok_or_else(|| AppError::field("page_token", wrong))
    }

    fn open_token(&self) -> Option<Vec<u8>> {
        if self.token.len() > MAX_TOKEN_LEN || !self.token.len().is_multiple_of(2) {
            return None;
        }
        let digits = self.token.as_bytes().chunks_exact(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Vec<u8> = digits.map(byte).collect::<Option<_>>()?;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        if crc32fast::hash(body) != u32::from_be_bytes(*check) {
            return None;
        }
        let (version, body) = body.split_first()?;
        let (list, cursor) = body.split_first_chunk::<LIST_BYTES>()?;
        (*version == VERSION && *list == self.list_name()).then(|| cursor.to_vec())
    }

    fn list_name(&self) -> [u8; LIST_BYTES] {
        let mut name = [0; LIST_BYTES];
        name.copy_from_slice(&Sha256::digest(&self.list)[..LIST_BYTES]);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(list: &str, token: String) -> PageRequest {
        PageRequest { size: 10, token, list: list.into() }
    }

    fn bytes(cursor: &[u8]) -> Option<Vec<u8>> {
        Some(cursor.to_vec())
    }

    #[test]
    fn a_token_leads_back_to_its_place_in_its_list_only() {
        let token = request("keys of acme", String::new()).token(b"here");
        let found = request("keys of acme", token.clone()).cursor(bytes).expect("own token");
        assert_eq!(found.as_deref(), Some(&b"here"[..]));
        assert!(request("keys of other", token).cursor(bytes).is_err());
        assert!(request("any", String::new()).cursor(bytes).expect("first page").is_none());
    }

    #[test]
    fn a_token_with_any_character_changed_is_refused() {
        let token = request("l", String::new()).token(b"place");
        for at in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
            let altered = String::from_utf8(altered).expect("ascii");
            assert!(request("l", altered).cursor(bytes).is_err(), "changed at {at}");
        }
        for text in ["x", "zz", "é", &"0".repeat(MAX_TOKEN_LEN + 2)] {
            assert!(request("l", text.to_owned()).cursor(bytes).is_err());
        }
    }
}
