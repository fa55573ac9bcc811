//! Charts of counts in one line of text: sparklines and bars.

use std::ffi::OsString;

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// Block elements.
    Unicode,
    /// Letters and signs alone.
    Ascii,
}

/// Heights of a sparkline, lowest first.
const UNICODE_HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_HEIGHTS: [char; 8] = ['.', ':', '-', '=', '+', '*', '#', '@'];

/// Parts of a bar's last character, smallest first.
const PARTS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// How many steps a height or a part has.
const STEPS: u128 = 8;

impl Charset {
    /// What suits the reader: block elements on a terminal whose locale is in UTF-8. `variable` looks up
    /// the variables of the environment.
    pub(super) fn suitable(terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        if terminal && utf8 { Charset::Unicode } else { Charset::Ascii }
    }
}

/// How many neighbours share a column, if so many counts are to be drawn in so many columns.
pub(super) fn per_column(counts: usize, columns: usize) -> usize {
    counts.div_ceil(columns.max(1)).max(1)
}

/// The counts as heights, in at most `columns` columns: neighbours that share one are added. Nothing is
/// blank; the least there is can be seen.
pub(super) fn sparkline(counts: &[u64], columns: usize, charset: Charset) -> String {
    let heights = match charset {
        Charset::Unicode => UNICODE_HEIGHTS,
        Charset::Ascii => ASCII_HEIGHTS,
    };
    let sums: Vec<u64> = counts.chunks(per_column(counts.len(), columns)).map(sum).collect();
    let most = sums.iter().copied().max().unwrap_or(0);
    let height = |count: u64| match scaled(count, most, STEPS) {
        0 => ' ',
        height => heights[height - 1],
    };
    sums.into_iter().map(height).collect()
}

fn sum(counts: &[u64]) -> u64 {
    counts.iter().copied().fold(0, u64::saturating_add)
}

/// A bar for `count`, where the bar for `most` has `columns` columns. The least there is can be seen.
pub(super) fn bar(count: u64, most: u64, columns: usize, charset: Charset) -> String {
    match charset {
        Charset::Ascii => "#".repeat(scaled(count, most, columns as u128)),
        Charset::Unicode => {
            let steps = scaled(count, most, columns as u128 * STEPS);
            let mut bar = "█".repeat(steps / PARTS.len());
            if let Some(last) = (steps % PARTS.len()).checked_sub(1) {
                bar.push(PARTS[last]);
            }
            bar
        }
    }
}

/// `count` as steps, of which `most` has `steps`; rounded, but 0 for none only.
fn scaled(count: u64, most: u64, steps: u128) -> usize {
    if count == 0 || most == 0 {
        return 0;
    }
    let most = u128::from(most);
    let scaled = (u128::from(count) * steps + most / 2) / most;
    usize::try_from(scaled.clamp(1, steps.max(1))).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_shares_of_the_most_and_nothing_is_blank() {
        let counts = [0, 1, 125, 250, 500, 750, 1000];
        assert_eq!(sparkline(&counts, 80, Charset::Unicode), " ▁▁▂▄▆█");
        assert_eq!(sparkline(&counts, 80, Charset::Ascii), " ..:=*@");
        assert_eq!(sparkline(&[0, 0], 80, Charset::Unicode), "  ");
        assert_eq!(sparkline(&[], 80, Charset::Unicode), "");
        assert_eq!(sparkline(&[u64::MAX, 1], 1, Charset::Unicode), "█");
    }

    #[test]
    fn more_counts_than_columns_share_them() {
        assert_eq!(sparkline(&[1, 1, 1, 3, 0], 3, Charset::Unicode), "▄█ ");
        for (counts, columns) in [(1, 60), (60, 60), (61, 60), (1500, 60), (1500, 1), (3, 0)] {
            let drawn = sparkline(&vec![1; counts], columns, Charset::Ascii);
            assert!((1..=columns.max(1)).contains(&drawn.chars().count()), "{counts} in {columns}");
        }
        assert_eq!(per_column(0, 60), 1);
    }

    #[test]
    fn bars_grow_by_eighths_and_never_past_their_columns() {
        let unicode = |count| bar(count, 16, 2, Charset::Unicode);
        assert_eq!([0, 1, 7, 8, 9, 16].map(unicode), ["", "▏", "▉", "█", "█▏", "██"]);
        assert_eq!(bar(1, u64::MAX, 10, Charset::Unicode), "▏");
        assert_eq!(bar(u64::MAX, u64::MAX, 10, Charset::Unicode).chars().count(), 10);
        let ascii = |count| bar(count, 10, 5, Charset::Ascii);
        assert_eq!([0, 1, 5, 10].map(ascii), ["", "#", "###", "#####"]);
        assert_eq!(bar(0, 0, 5, Charset::Ascii), "");
    }

    #[test]
    fn block_elements_are_for_terminals_in_utf_8() {
        let of = |terminal, set: &[(&str, &str)]| {
            Charset::suitable(terminal, |name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            })
        };
        assert_eq!(of(true, &[("LANG", "de_DE.UTF-8")]), Charset::Unicode);
        assert_eq!(of(true, &[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]), Charset::Unicode);
        assert_eq!(of(true, &[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]), Charset::Ascii);
        assert_eq!(of(true, &[]), Charset::Ascii);
        assert_eq!(of(false, &[("LANG", "de_DE.UTF-8")]), Charset::Ascii);
    }
}
