//! Signals, the latest first, by pages.

use rusqlite::{Row, params};

use super::{DAMAGED, MAX_NAMED, Signal, Signals};
use crate::domain::ids::{CallerId, KeyId, PUBLIC_ID_BYTES, Position, TenantId};
use crate::domain::time::Time;
use crate::domain::usage::signals::{DAY, SignalKind};
use crate::projection::usage::labels::Labels;
use crate::projection::usage::reader::Moment;
use crate::projection::usage::sources::{Origin, Origins};
use crate::projection::usage::{Range, UsageStoreError};

/// The signal behind which a page begins: its span and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignalPlace {
    span: i64,
    id: i64,
}

impl SignalPlace {
    /// Behind which the first page begins.
    const TOP: SignalPlace = SignalPlace { span: i64::MAX, id: i64::MAX };

    /// The place as bytes.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        [self.span.to_be_bytes(), self.id.to_be_bytes()].concat()
    }

    /// The place that these bytes are of; none if they are of none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (span, id) = bytes.split_first_chunk::<8>()?;
        let (span, id) = (i64::from_be_bytes(*span), i64::from_be_bytes(id.try_into().ok()?));
        Some(SignalPlace { span, id })
    }
}

/// The signals whose uses reach into `range`; of these tenants, or all and those of no tenant.
pub(in crate::projection::usage) fn list(
    moment: &Moment<'_>,
    tenants: Option<&[TenantId]>,
    range: Range,
    after: Option<SignalPlace>,
    size: usize,
) -> Result<Signals, UsageStoreError> {
    let after = after.unwrap_or(SignalPlace::TOP);
    let mut found = Vec::new();
    match tenants {
        None => rows(moment, None, range, after, size, &mut found)?,
        Some(tenants) => {
            for tenant in tenants {
                let sql = "SELECT id FROM tenants WHERE name = ?1";
                if let Some(number) = moment.one(sql, [tenant.as_str()], |row| row.get(0))? {
                    rows(moment, Some(number), range, after, size, &mut found)?;
                }
            }
        }
    }
    found.sort_unstable_by_key(|found| std::cmp::Reverse(found.place));
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|found| found.place);
    let (mut labels, mut origins) = (Labels::new(moment), Origins::new(moment));
    let signals = found.into_iter().map(|found| found.named(&mut labels, &mut origins));
    Ok(Signals { signals: signals.collect::<Result<_, _>>()?, next })
}

/// A row, in numbers.
struct Found {
    place: SignalPlace,
    key: i64,
    sources: Vec<u8>,
    signal: Signal,
}

/// Reads one row more than a page has.
fn rows(
    moment: &Moment<'_>,
    tenant: Option<i64>,
    range: Range,
    after: SignalPlace,
    size: usize,
    found: &mut Vec<Found>,
) -> Result<(), UsageStoreError> {
    // A signal ends at most a day and a window behind the beginning of its span.
    let of_tenant = if tenant.is_some() { "tenant = ?6" } else { "?6 IS NULL" };
    let sql = format!(
        "SELECT id, span, kind, key, first, last, from_time, until_time, uses, observed, threshold, sources, callers,
            presented
         FROM signals
         WHERE {of_tenant} AND span >= ?1 AND span < ?2 AND until_time > ?3 AND from_time < ?2
            AND (span, id) < (?4, ?5)
         ORDER BY span DESC, id DESC LIMIT ?7"
    );
    let (from, until) = (range.from.as_micros(), range.until.as_micros());
    let day = i64::try_from(DAY.as_micros()).map_err(|_| DAMAGED)?;
    let first = from.saturating_sub(2 * day);
    let limit = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
    let params = params![first, until, from, after.span, after.id, tenant, limit];
    moment.each(&sql, params, |row| {
        found.push(read(row)?);
        Ok(())
    })
}

fn read(row: &Row<'_>) -> Result<Found, UsageStoreError> {
    let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let position = |at| Position::new(number(at)?).ok_or(DAMAGED);
    let callers: Vec<u8> = row.get(12)?;
    let (callers, rest) = callers.as_chunks::<PUBLIC_ID_BYTES>();
    let kind = SignalKind::from_number(row.get(2)?).filter(|_| rest.is_empty()).ok_or(DAMAGED)?;
    let signal = Signal {
        kind,
        whose: None,
        from: Time::from_micros(row.get(6)?),
        until: Time::from_micros(row.get(7)?),
        uses: number(8)?,
        observed: number(9)?,
        threshold: number(10)?,
        first: position(4)?,
        last: position(5)?,
        sources: Vec::new(),
        more_sources: false,
        erased: false,
        callers: callers.iter().take(MAX_NAMED).map(|id| CallerId(*id)).collect(),
        more_callers: callers.len() > MAX_NAMED,
        presented: row.get(13)?,
    };
    let place = SignalPlace { span: row.get(1)?, id: row.get(0)? };
    Ok(Found { place, key: row.get(3)?, sources: row.get(11)?, signal })
}

impl Found {
    /// With names for numbers.
    fn named(
        self,
        labels: &mut Labels<'_>,
        origins: &mut Origins<'_>,
    ) -> Result<Signal, UsageStoreError> {
        let Found { key, sources, mut signal, .. } = self;
        if key != 0 {
            let label = labels.key(key)?;
            let (tenant, account) = labels.account(label.account)?;
            signal.whose = Some((tenant, account, KeyId(label.key.0)));
        }
        let (sources, rest) = sources.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(DAMAGED);
        }
        signal.more_sources = sources.len() > MAX_NAMED;
        for source in sources.iter().take(MAX_NAMED) {
            let number = origins.number(i64::from_be_bytes(*source))?;
            match origins.origin(number) {
                Origin::Address(address) if signal.sources.contains(&address) => {}
                Origin::Address(address) => signal.sources.push(address),
                _ => signal.erased = true,
            }
        }
        Ok(signal)
    }
}
