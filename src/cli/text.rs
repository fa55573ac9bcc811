//! Small pieces of text for people.

/// The text with its control characters made visible, so that nothing a server sends can move the
/// cursor of a terminal or forge a line.
pub(super) fn plain(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let visible = |character: char| -> String {
        if character.is_control() { character.escape_unicode().collect() } else { character.into() }
    };
    text.chars().map(visible).collect()
}

/// The text, or a dash for none.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "—".to_owned() } else { plain(text) }
}

/// The texts side by side, or `none`.
pub(super) fn joined(texts: &[String], none: &str) -> String {
    if texts.is_empty() { none.to_owned() } else { plain(&texts.join(", ")) }
}

/// The number with a comma at each thousand.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// So many bytes, in the unit that keeps the figure below 1,024.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut whole = count; // in the unit before UNITS[unit]
    while whole >= 1_024 * 1_024 && unit + 1 < UNITS.len() {
        whole /= 1_024;
        unit += 1;
    }
    format!("{}.{} {}", whole / 1_024, whole % 1_024 * 10 / 1_024, UNITS[unit])
}

/// The bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{bytes, grouped, hex, joined, or_dash, plain};

    #[test]
    fn control_characters_are_made_visible_and_nothing_else_changes() {
        assert_eq!(plain("Grüße, 世界"), "Grüße, 世界");
        assert_eq!(plain("a\u{1b}[31m\nb\u{9b}"), "a\\u{1b}[31m\\u{a}b\\u{9b}");
        assert_eq!(joined(&["a".to_owned(), "b\r".to_owned()], "none"), "a, b\\u{d}");
    }

    #[test]
    fn nothing_is_shown_as_a_dash_or_in_a_word() {
        assert_eq!(or_dash(""), "—");
        assert_eq!(joined(&[], "anywhere"), "anywhere");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown = [0, 999, 1_000, 12_345, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn bytes_are_shown_in_a_fitting_unit() {
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(1_048_575), "1023.9 KiB");
        assert_eq!(bytes(1_048_576), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
    }

    #[test]
    fn hexadecimal_keeps_leading_zeros() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
