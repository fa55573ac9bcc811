//! Logs that were altered or truncated on disk.

use super::*;

/// Sixty frames of about 3 KB, so that leaves are split and rewritten. sled reads what was written
/// since the last open record by record, and what is older only when it is asked for it.
fn closed_log_of_sixty(opened_since: bool) -> Closed {
    let mut log = Log::new();
    for n in 0..60_u8 {
        let record = [&b"marker-"[..], &[n; 3000]].concat();
        log.append(&[&record]);
    }
    let closed = log.close();
    if opened_since {
        open(&closed.dir).unwrap().close().unwrap();
    }
    closed
}

#[test]
fn an_altered_log_is_never_read_as_something_else() {
    for mut closed in [closed_log_of_sixty(false), closed_log_of_sixty(true)] {
        let log = closed.bytes();
        assert_eq!(closed.start_with_log(&log), Ok(closed.records.clone()));

        // Refused, or the byte was one that nothing depends on.
        let used = log.iter().rposition(|byte| *byte != 0).unwrap();
        let anchor = closed.anchor;
        for offset in (0..used).step_by(used / 12) {
            let mut altered = log.clone();
            altered[offset] ^= 0x20;
            closed.anchor = anchor;
            if let Ok(records) = closed.start_with_log(&altered) {
                assert!(records == closed.records, "offset {offset}");
            }
            // Under an anchor that lags, the last frame may be taken for one that a crash cut off.
            closed.anchor = Log::new().anchor();
            if let Ok(records) = closed.start_with_log(&altered) {
                assert!(
                    records.len() >= 59 && closed.records.starts_with(&records),
                    "offset {offset}"
                );
            }
        }
    }
}

#[test]
fn whole_frames_that_the_engine_cuts_off_are_put_back() {
    let closed = closed_log_of_sixty(false);
    let log = closed.bytes();
    // The frame is whole; what sled wrote before each copy of it is not.
    for n in [0, 20, 58, 59] {
        let marker = [&b"marker-"[..], &[n; 3000]].concat();
        let frame_at = 24 + 8;
        let mut altered = log.clone();
        for offset in frame_at..log.len() - marker.len() {
            if log[offset..].starts_with(&marker) {
                altered[offset - frame_at - 16..offset - frame_at].fill(0xFF);
            }
        }
        assert!(altered != log);
        assert_eq!(closed.start_with_log(&altered), Ok(closed.records.clone()), "frame {n}");
    }
}

#[test]
fn an_altered_record_is_refused_with_its_position() {
    for opened_since in [false, true] {
        let closed = closed_log_of_sixty(opened_since);
        let log = closed.bytes();
        for n in [0, 17, 58, 59] {
            let marker = [&b"marker-"[..], &[n; 8]].concat();
            let mut altered = log.clone();
            for offset in 0..log.len() {
                if log[offset..].starts_with(&marker) {
                    altered[offset] ^= 1;
                }
            }
            let refused = closed.start_with_log(&altered).map(|records| records.len());
            // Nothing tells the last record from one that a crash cut off, but the anchor does.
            let named = match (n, opened_since) {
                (59, false) => {
                    "the ledger ends at position 59 but the head anchor names 60".to_owned()
                }
                _ => format!("the frame that holds position {} cannot be read", n + 1),
            };
            assert_eq!(refused, Err(named));
        }
    }
}

#[test]
fn a_log_that_lost_a_record_is_refused_before_the_engine_changes_it() {
    let closed = closed_log_of_sixty(false);
    let mut altered = closed.bytes();
    let marker = [&b"marker-"[..], &[30; 8]].concat();
    for offset in 0..altered.len() {
        if altered[offset..].starts_with(&marker) {
            altered[offset] ^= 1;
        }
    }
    fs::write(closed.dir.join("db"), &altered).unwrap();
    let refused = LedgerError::Unreadable { position: at(31) };
    assert_eq!(error_of(open(&closed.dir)), refused);
    assert!(closed.bytes() == altered);
}

#[test]
fn a_truncated_log_is_refused() {
    for opened_since in [false, true] {
        let closed = closed_log_of_sixty(opened_since);
        let log = closed.bytes();
        let used = log.iter().rposition(|byte| *byte != 0).unwrap();
        for length in [0, 4096, used / 3, used - 2000] {
            let refused = closed.start_with_log(&log[..length]).map(|records| records.len());
            let text = refused.expect_err("frames are missing");
            let named = text.contains("up to position")
                || text.contains("cannot be read")
                || text.ends_with("but the head anchor names 60");
            assert!(named, "{length} bytes: {text}");
        }
    }
}
