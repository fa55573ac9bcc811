//! How often keys were used, told apart as asked: rows are read, added up by group, named and put in order.

use std::collections::HashMap;
use std::net::IpAddr;

use rusqlite::params;

use crate::domain::ids::{AccountId, CallerId, KeyId, TenantId};
use crate::domain::usage::UseOutcome;
use crate::projection::usage::labels::{KeyLabel, Labels, Place};
use crate::projection::usage::levels::Stretch;
use crate::projection::usage::reader::Moment;
use crate::projection::usage::scan::{Found, Of, Scope, Sum, scan};
use crate::projection::usage::schema::OTHER;
use crate::projection::usage::sources::{Origin, Origins};
use crate::projection::usage::{
    Dimension, MAX_GROUP_BY, Order, Row, Rows, UsageFilter, UsageQuery, UsageStoreError,
};

/// Groups that one answer may add up: about 100 MB.
const MAX_GROUPS: usize = 500_000;

/// The bucket, 0 if rows are not told apart by it, and the number of what each dimension is.
type Group = [i64; 1 + MAX_GROUP_BY];

/// What no number is.
const NOWHERE: i64 = i64::MIN;

pub(super) fn answer(moment: &Moment<'_>, query: &UsageQuery) -> Result<Rows, UsageStoreError> {
    if query.group_by.len() > MAX_GROUP_BY {
        return Err(UsageStoreError::TooMany);
    }
    let mut adding = Adding {
        query,
        wanted: Wanted::new(moment, &query.filter)?,
        origins: Origins::new(moment),
        groups: HashMap::new(),
        unattributed: 0,
    };
    let of_ways = query.filter.is_of_ways() || query.group_by.iter().any(|by| by.is_of_ways());
    let of = if of_ways { Of::Lines } else { Of::Facts };
    let scopes = scopes(moment, &query.filter)?;
    for stretch in unread(query) {
        for scope in &scopes {
            scan(moment, of, *scope, stretch, |found| adding.add(scope.tenant, &found))?;
        }
    }
    let Adding { origins, groups, unattributed, .. } = adding;
    let mut naming = Naming { query, labels: Labels::new(moment), origins };
    let (rows, next) = match &query.order {
        Order::Top(most) => (naming.top(&groups, *most)?, None),
        Order::Page { after, size } => naming.page(&groups, after.as_deref(), *size)?,
    };
    Ok(Rows { rows, next, unattributed })
}

/// The buckets that rows of the answer may be of: a page behind another has none of those before the bucket that the
/// other ends in. What cannot be attributed is counted for the whole range on each.
fn unread(query: &UsageQuery) -> Vec<Stretch> {
    let mut stretches = query.range.stretches(query.granularity);
    if let (Some(_), Order::Page { after: Some(after), .. }) = (query.granularity, &query.order)
        && !query.filter.is_of_ways()
    {
        let begun = Place::begins_with_number(after);
        for stretch in &mut stretches {
            stretch.first = stretch.first.max(begun.unwrap_or(stretch.first));
        }
        stretches.retain(|stretch| stretch.first < stretch.end);
    }
    stretches
}

/// Whose rows are to be read.
fn scopes(moment: &Moment<'_>, filter: &UsageFilter) -> Result<Vec<Scope>, UsageStoreError> {
    let mut tenants = Vec::new();
    match &filter.tenants {
        None => moment.each("SELECT id FROM tenants", [], |row| {
            tenants.push(row.get(0)?);
            Ok(())
        })?,
        Some(names) => {
            for name in names {
                tenants.extend(tenant(moment, name)?);
            }
            tenants.sort_unstable();
            tenants.dedup();
        }
    }
    let tenants = tenants.into_iter();
    let all = tenants.map(|tenant| Scope { tenant, account: None, key: None });
    let mut scopes = all.collect::<Vec<_>>();
    if let Some(name) = &filter.account {
        let mut found = Vec::new();
        for scope in scopes {
            let account = account(moment, scope.tenant, name)?;
            found.extend(account.map(|account| Scope { account: Some(account), ..scope }));
        }
        scopes = found;
    }
    let Some(id) = &filter.key else { return Ok(scopes) };
    let of_key = key_scope(moment, id)?.filter(|of_key| {
        scopes.iter().any(|scope| {
            let fits = scope.account.is_none_or(|account| of_key.account == Some(account));
            scope.tenant == of_key.tenant && fits
        })
    });
    Ok(of_key.into_iter().collect())
}

fn tenant(moment: &Moment<'_>, name: &TenantId) -> Result<Option<i64>, UsageStoreError> {
    moment.one("SELECT id FROM tenants WHERE name = ?1", [name.as_str()], |row| row.get(0))
}

fn account(
    moment: &Moment<'_>,
    tenant: i64,
    name: &AccountId,
) -> Result<Option<i64>, UsageStoreError> {
    let sql = "SELECT id FROM accounts WHERE tenant = ?1 AND name = ?2";
    moment.one(sql, params![tenant, name.as_str()], |row| row.get(0))
}

/// The rows of a key; none if it was never used.
pub(super) fn key_scope(
    moment: &Moment<'_>,
    key: &KeyId,
) -> Result<Option<Scope>, UsageStoreError> {
    let sql = "SELECT tenant, accounts.id, keys.id FROM keys JOIN accounts ON accounts.id = account
               WHERE key = ?1";
    moment.one(sql, [key.0], |row| {
        Ok(Scope { tenant: row.get(0)?, account: Some(row.get(1)?), key: Some(row.get(2)?) })
    })
}

/// What is asked of each row, in numbers; [`NOWHERE`] is what no row has.
struct Wanted {
    caller: Option<i64>,
    action: Option<i64>,
    source: Option<IpAddr>,
    outcome: Option<UseOutcome>,
}

/// Whether a row is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fits {
    Yes,
    No,
    NotKnown,
}

impl Wanted {
    fn new(moment: &Moment<'_>, filter: &UsageFilter) -> Result<Self, UsageStoreError> {
        let caller = |id: &CallerId| {
            moment.one("SELECT id FROM callers WHERE caller = ?1", [id.0], |row| row.get(0))
        };
        let action = |text: &String| match text.as_str() {
            "" => Ok(Some(0)),
            text => {
                moment.one("SELECT id FROM actions WHERE action = ?1", [text], |row| row.get(0))
            }
        };
        let number = |found: Option<i64>| found.unwrap_or(NOWHERE);
        Ok(Wanted {
            caller: filter.caller.as_ref().map(caller).transpose()?.map(number),
            action: filter.action.as_ref().map(action).transpose()?.map(number),
            source: filter.source.map(|source| moment.detail.of(source)),
            outcome: filter.outcome,
        })
    }

    fn fits(
        &self,
        found: &Found,
        origin: impl FnOnce() -> Result<Origin, UsageStoreError>,
    ) -> Result<Fits, UsageStoreError> {
        if self.outcome.is_some_and(|outcome| outcome != found.outcome) {
            return Ok(Fits::No);
        }
        if self.caller.is_none() && self.action.is_none() && self.source.is_none() {
            return Ok(Fits::Yes);
        }
        let [caller, action, _] = found.way;
        if caller == OTHER {
            return Ok(Fits::NotKnown);
        }
        let differs = |wanted: Option<i64>, found| wanted.is_some_and(|wanted| wanted != found);
        if differs(self.caller, caller) || differs(self.action, action) {
            return Ok(Fits::No);
        }
        let Some(source) = self.source else { return Ok(Fits::Yes) };
        Ok(match origin()? {
            Origin::Erased => Fits::NotKnown,
            Origin::Address(address) if address == source => Fits::Yes,
            _ => Fits::No,
        })
    }
}

/// Rows that are being added up.
struct Adding<'a> {
    query: &'a UsageQuery,
    wanted: Wanted,
    origins: Origins<'a>,
    groups: HashMap<Group, Sum>,
    unattributed: u64,
}

impl Adding<'_> {
    fn add(&mut self, tenant: i64, found: &Found) -> Result<(), UsageStoreError> {
        let [caller, action, source] = found.way;
        let origins = &mut self.origins;
        let fits = self.wanted.fits(found, || {
            let number = origins.number(source)?;
            Ok(origins.origin(number))
        })?;
        match fits {
            Fits::Yes => {}
            Fits::No => return Ok(()),
            Fits::NotKnown => {
                self.unattributed = self.unattributed.saturating_add(found.count);
                return Ok(());
            }
        }
        let mut group = Group::default();
        if self.query.granularity.is_some() {
            group[0] = found.bucket;
        }
        for (by, number) in self.query.group_by.iter().zip(&mut group[1..]) {
            *number = match by {
                Dimension::Tenant => tenant,
                Dimension::Account => found.account,
                Dimension::Key => found.key,
                Dimension::Caller => caller,
                Dimension::Action => action,
                Dimension::Source => self.origins.number(source)?,
                Dimension::Reason => i64::from(found.outcome as u8),
            };
        }
        self.groups.entry(group).or_default().add(found);
        if self.groups.len() > MAX_GROUPS { Err(UsageStoreError::TooMany) } else { Ok(()) }
    }
}

/// Groups that are being named.
struct Naming<'a> {
    query: &'a UsageQuery,
    labels: Labels<'a>,
    origins: Origins<'a>,
}

impl Naming<'_> {
    /// The rows with the most uses. Only those, and those that have as many as the last of them, are named.
    fn top(
        &mut self,
        groups: &HashMap<Group, Sum>,
        most: usize,
    ) -> Result<Vec<Row>, UsageStoreError> {
        let mut totals = groups.values().map(Sum::total).collect::<Vec<_>>();
        let least = match most.checked_sub(1) {
            Some(last) if last < totals.len() => {
                *totals.select_nth_unstable_by(last, |one, other| other.cmp(one)).1
            }
            Some(_) => 0,
            None => return Ok(Vec::new()),
        };
        let mut rows = Vec::new();
        for (group, sum) in groups.iter().filter(|(_, sum)| sum.total() >= least) {
            let (place, row) = self.name(group, sum)?;
            rows.push((sum.total(), place, row));
        }
        rows.sort_unstable_by(|one, other| (other.0, &one.1).cmp(&(one.0, &other.1)));
        Ok(rows.into_iter().take(most).map(|(_, _, row)| row).collect())
    }

    /// The rows behind `after`, and what asks for those behind them, if there are any.
    fn page(
        &mut self,
        groups: &HashMap<Group, Sum>,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<(Vec<Row>, Option<Vec<u8>>), UsageStoreError> {
        let mut rows = Vec::new();
        for (group, sum) in groups {
            let (place, row) = self.name(group, sum)?;
            if after.is_none_or(|after| place.0.as_slice() > after) {
                rows.push((place, row));
            }
        }
        rows.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let more = rows.len() > size;
        rows.truncate(size);
        let next = rows.last().filter(|_| more).map(|(place, _)| place.0.clone());
        Ok((rows.into_iter().map(|(_, row)| row).collect(), next))
    }

    fn name(&mut self, group: &Group, sum: &Sum) -> Result<(Place, Row), UsageStoreError> {
        let (mut place, mut row) = (Place::default(), Row::default());
        row.counts = sum.counts();
        if let Some(granularity) = self.query.granularity {
            place.number(group[0]);
            row.bucket = Some(granularity.start(group[0]));
        }
        for (by, number) in self.query.group_by.iter().zip(group[1..].iter().copied()) {
            self.name_one(*by, number, &mut place, &mut row)?;
        }
        Ok((place, row))
    }

    fn name_one(
        &mut self,
        by: Dimension,
        number: i64,
        place: &mut Place,
        row: &mut Row,
    ) -> Result<(), UsageStoreError> {
        match by {
            Dimension::Tenant => {
                let tenant = self.labels.tenant(number)?;
                place.text(tenant.as_str());
                row.tenant = Some(tenant);
            }
            Dimension::Account => {
                let (tenant, account) = self.labels.account(number)?;
                place.text(tenant.as_str());
                place.text(account.as_str());
                (row.tenant, row.account) = (Some(tenant), Some(account));
            }
            Dimension::Key => {
                let KeyLabel { key, account } = self.labels.key(number)?;
                let (tenant, account) = self.labels.account(account)?;
                place.id(&key.0);
                (row.tenant, row.account, row.key) = (Some(tenant), Some(account), Some(key));
            }
            Dimension::Caller => {
                row.caller = self.labels.caller(number)?;
                row.other |= number == OTHER;
                place.kind(number);
                row.caller.iter().for_each(|caller| place.id(&caller.0));
            }
            Dimension::Action => {
                row.action = self.labels.action(number)?;
                row.other |= number == OTHER;
                place.kind(number);
                row.action.iter().for_each(|action| place.text(action));
            }
            Dimension::Source => {
                let origin = self.origins.origin(number);
                row.other |= origin == Origin::Other;
                row.erased |= origin == Origin::Erased;
                if let Origin::Address(address) = origin {
                    row.source = Some(address);
                }
                place.origin(origin);
            }
            Dimension::Reason => {
                let outcome = u8::try_from(number).ok().and_then(UseOutcome::from_number);
                row.outcome = outcome;
                place.number(number);
            }
        }
        Ok(())
    }
}
