//! How the places are where checkpoints are kept and cosigned, for who asks how the service is.

use crate::domain::time::Time;

/// How one place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceFigures {
    /// What it is called in warnings and metrics: of a witness, the name of its key.
    pub name: String,
    /// How many records the checkpoint covers that was kept last; 0 if none was since the start.
    pub position: u64,
    /// When that was.
    pub last_kept: Option<Time>,
    /// How many attempts have failed since the start.
    pub failures: u64,
    /// Whether the last attempt failed.
    pub failing: bool,
    /// Whether a newer checkpoint has waited for longer than three intervals.
    pub overdue: bool,
    /// What stands in its place and no time mends, if the last attempt met that: another log's checkpoint, say.
    pub refused: Option<String>,
}

impl PlaceFigures {
    fn is_amiss(&self) -> bool {
        self.overdue || self.refused.is_some()
    }

    fn why(&self) -> &str {
        self.refused.as_deref().unwrap_or("the server's log says why")
    }
}

/// How all of them are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffHostFigures {
    /// Where checkpoints are kept.
    pub anchors: Vec<PlaceFigures>,
    /// Who cosigns them.
    pub witnesses: Vec<PlaceFigures>,
    /// How many witnesses must have cosigned a checkpoint; 0 if there are none.
    pub quorum: usize,
    /// How many records the newest checkpoint covers that so many have cosigned; 0 if there is none.
    pub cosigned: u64,
    /// Whether witnesses have cosigned newer ones for longer than three intervals, and not so many any one.
    pub cosigned_overdue: bool,
}

const NOTHING: &str = "no checkpoint is kept off this host, so a data directory put back to an earlier state \
     would not be found: set audit.anchor.file, audit.anchor.history, audit.anchor.url or audit.witnesses";

impl OffHostFigures {
    /// What somebody should look at, for people.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let none = self.anchors.is_empty() && self.witnesses.is_empty();
        let not_kept = |place: &PlaceFigures| {
            let PlaceFigures { name, .. } = place;
            format!(
                "checkpoints are not kept off this host by audit.anchor.{name}; {}",
                place.why()
            )
        };
        let not_cosigned = |place: &PlaceFigures| {
            format!("checkpoints are not cosigned by the witness {}; {}", place.name, place.why())
        };
        let amiss = |place: &&PlaceFigures| place.is_amiss();
        let cosigning = self.witnesses.iter().filter(|place| !place.is_amiss()).count();
        let few = cosigning < self.quorum;
        let why = if few { "too few witnesses cosign" } else { "witnesses do not cosign the same" };
        let behind = (few || self.cosigned_overdue).then(|| {
            format!(
                "{why} checkpoints, and {} must, so GetCheckpoint answers none that is cosigned and newer",
                self.quorum
            )
        });
        none.then(|| NOTHING.to_owned())
            .into_iter()
            .chain(self.anchors.iter().filter(amiss).map(not_kept))
            .chain(self.witnesses.iter().filter(amiss).map(not_cosigned))
            .chain(behind)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, overdue: bool, refused: Option<&str>) -> PlaceFigures {
        let refused = refused.map(str::to_owned);
        let (name, last_kept) = (name.to_owned(), None);
        PlaceFigures {
            name,
            position: 0,
            last_kept,
            failures: 0,
            failing: overdue,
            overdue,
            refused,
        }
    }

    fn warnings(
        anchors: &[PlaceFigures],
        witnesses: &[PlaceFigures],
        quorum: usize,
    ) -> Vec<String> {
        let (anchors, witnesses) = (anchors.to_vec(), witnesses.to_vec());
        OffHostFigures { anchors, witnesses, quorum, ..Default::default() }.warnings()
    }

    #[test]
    fn it_is_told_if_nothing_is_kept_anywhere() {
        assert!(warnings(&[], &[], 0)[0].starts_with("no checkpoint is kept off this host"));
        assert!(warnings(&[place("file", false, None)], &[], 0).is_empty());
        assert!(warnings(&[], &[place("w", false, None)], 1).is_empty(), "a witness remembers it");
    }

    #[test]
    fn a_witness_that_does_not_cosign_is_told_and_too_few_once_more() {
        let log = "checkpoints are not cosigned by the witness a; the server's log says why";
        let told = "checkpoints are not cosigned by the witness b; it is of another log";
        let few = "too few witnesses cosign checkpoints, and 2 must, so GetCheckpoint answers none that is \
                   cosigned and newer";
        let [slow, refused, well] =
            [("a", true, None), ("b", false, Some("it is of another log")), ("c", false, None)]
                .map(|(name, overdue, refused)| place(name, overdue, refused));
        let all = [slow.clone(), well.clone(), well.clone()];
        assert_eq!(warnings(&[], &all, 2), [log]);
        assert_eq!(warnings(&[], &[slow, refused, well.clone()], 2), [log, told, few]);
        let cosigned_overdue = true;
        let figures = OffHostFigures {
            witnesses: vec![well.clone(), well],
            quorum: 2,
            cosigned_overdue,
            ..Default::default()
        };
        assert!(figures.warnings()[0].starts_with("witnesses do not cosign the same checkpoints"));
    }
}
