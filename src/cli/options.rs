//! Options that several commands share.

use std::collections::BTreeMap;

use clap::Args;

use super::failure::Failure;
use super::output::{Format, Output, Row, note};
use crate::proto::v1;

/// What every command that changes something may be given.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "For the record")]
pub(super) struct ChangeArgs {
    /// A UUID that names this request: a repeat of it is answered and not done again, for 24 hours
    #[arg(long, value_name = "UUID", default_value_t, hide_default_value = true)]
    pub(super) request_id: String,
    /// The person or system this is done for; kept with the event
    #[arg(long, value_name = "SUBJECT")]
    on_behalf_of: Option<String>,
    /// Reference of the request in another system; kept with the event
    #[arg(long, value_name = "TICKET")]
    ticket: Option<String>,
    /// Anything else worth keeping with the event
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl ChangeArgs {
    /// For whom this is done; none if nothing is said of it.
    pub(super) fn on_behalf_of(&self) -> Option<v1::OnBehalfOf> {
        if self.on_behalf_of.is_none() && self.ticket.is_none() && self.note.is_none() {
            return None;
        }
        Some(v1::OnBehalfOf {
            subject: self.on_behalf_of.clone().unwrap_or_default(),
            ticket: self.ticket.clone().unwrap_or_default(),
            note: self.note.clone().unwrap_or_default(),
        })
    }
}

/// How much of a list to answer.
#[derive(Debug, Args)]
pub(super) struct Paging {
    /// Stop after this many [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// How many to ask the server for at a time, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    page_size: u16,
}

impl Paging {
    /// All there is, in the largest pages.
    pub(super) const ALL: Paging = Paging { limit: None, page_size: 1_000 };

    /// Fetches page after page (given its size and its token, empty for the first; answers it and the
    /// token of the next, empty after the last) and hands each to `take`, until one of them wants no more.
    pub(super) async fn walk<R>(
        &self,
        mut fetch: impl AsyncFnMut(i32, String) -> Result<(Vec<R>, String), Failure>,
        mut take: impl FnMut(Vec<R>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut token = String::new();
        loop {
            let size = u16::try_from(left).map_or(self.page_size, |left| left.min(self.page_size));
            let (mut page, next) = fetch(size.into(), token).await?;
            page.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= u64::try_from(page.len()).unwrap_or(left);
            take(page)?;
            if next.is_empty() || left == 0 {
                return Ok(());
            }
            token = next;
        }
    }

    /// Shows page after page; people are told if there is nothing to show.
    pub(super) async fn show<R: Row>(
        &self,
        output: &mut Output,
        fetch: impl AsyncFnMut(i32, String) -> Result<(Vec<R>, String), Failure>,
    ) -> Result<(), Failure> {
        let mut shown = 0;
        let take = |page: Vec<R>| {
            shown += page.len();
            output.many(&page)
        };
        self.walk(fetch, take).await?;
        if shown == 0 && output.format() == Format::Table {
            note("There are none.");
        }
        Ok(())
    }
}

/// Parses `NAME=VALUE`; the value may hold more `=`, and may be empty.
pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// The pairs as a map.
///
/// # Errors
/// If a name is given twice: one of the values would be lost.
pub(super) fn pairs(pairs: &[(String, String)]) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::Usage(format!("--metadata {name} is given twice")));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ChangeArgs, Paging, pairs, parse_pair};
    use crate::cli::failure::Failure;

    /// Walks a list of 0, 1, 2, … `total`, served in pages of at most `served`; answers what was asked
    /// for and what was taken.
    async fn walked(
        paging: Paging,
        total: usize,
        served: usize,
    ) -> (Vec<(i32, String)>, Vec<usize>) {
        let (mut asked, mut taken) = (Vec::new(), Vec::new());
        let fetch = async |size: i32, token: String| {
            let start: usize = if token.is_empty() { 0 } else { token.parse().expect("our token") };
            asked.push((size, token));
            let end = total.min(start + served.min(usize::try_from(size).expect("positive")));
            Ok(((start..end).collect(), if end < total { end.to_string() } else { String::new() }))
        };
        let take = |page: Vec<usize>| {
            taken.extend(page);
            Ok(())
        };
        paging.walk(fetch, take).await.expect("is walked");
        (asked, taken)
    }

    #[tokio::test]
    async fn all_pages_are_followed_to_the_end() {
        let (asked, taken) = walked(Paging { limit: None, page_size: 4 }, 10, 3).await;
        assert_eq!(taken, (0..10).collect::<Vec<_>>());
        let tokens: Vec<_> = asked.iter().map(|(size, token)| (*size, token.as_str())).collect();
        assert_eq!(tokens, [(4, ""), (4, "3"), (4, "6"), (4, "9")]);
    }

    #[tokio::test]
    async fn a_limit_is_never_passed_and_ends_the_asking() {
        let (asked, taken) = walked(Paging { limit: Some(6), page_size: 4 }, 10, 100).await;
        assert_eq!(taken, (0..6).collect::<Vec<_>>());
        assert_eq!(asked, [(4, String::new()), (2, "4".to_owned())]);
    }

    #[tokio::test]
    async fn a_failure_ends_the_walk() {
        let fetch = async |_, _| Err::<(Vec<u8>, String), _>(Failure::Usage("no".to_owned()));
        assert!(matches!(Paging::ALL.walk(fetch, |_| Ok(())).await, Err(Failure::Usage(_))));
    }

    #[test]
    fn a_pair_is_split_at_its_first_equals_sign() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(parse_pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(parse_pair("a").is_err() && parse_pair("=b").is_err());
    }

    #[test]
    fn a_name_given_twice_is_a_usage_error() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let map = pairs(&[pair("b", "2"), pair("a", "1")]).expect("differ");
        assert_eq!(map, BTreeMap::from([pair("a", "1"), pair("b", "2")]));
        assert!(matches!(pairs(&[pair("a", "1"), pair("a", "1")]), Err(Failure::Usage(_))));
    }

    #[test]
    fn nothing_said_of_whom_it_is_for_sends_nothing() {
        assert_eq!(ChangeArgs::default().on_behalf_of(), None);
        let ticket = ChangeArgs { ticket: Some("T-1".to_owned()), ..Default::default() };
        let sent = ticket.on_behalf_of().expect("is sent");
        assert_eq!((sent.subject.as_str(), sent.ticket.as_str()), ("", "T-1"));
    }
}
