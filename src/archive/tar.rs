//! The container: POSIX ustar, regular files alone, every header exactly what the name and the size make it.
//! So there is one way to write a member, and whatever else is there is refused.

use std::io::{self, Read, Write};

use super::ArchiveError;

/// Headers and the bytes of members fill whole blocks of this.
const BLOCK: usize = 512;

/// Where the size is in a header: octal digits and a zero byte.
const SIZE: std::ops::Range<usize> = 124..136;

/// Where the checksum is: six octal digits, a zero byte, a space.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Longest name of a member.
const MOST_NAME: usize = 99;

/// The header of a member.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 100 | name, then zeros |
/// | 100 | 8, 8, 8 | mode 0000644, owner 0000000, group 0000000; each with a zero byte |
/// | 124 | 12 | size, 11 octal digits and a zero byte |
/// | 136 | 12 | time 00000000000 and a zero byte |
/// | 148 | 8 | checksum: the sum of all bytes of the header, spaces standing here |
/// | 156 | 1 | type `0` |
/// | 157 | 100 | zeros |
/// | 257 | 8 | `ustar`, a zero byte, `00` |
/// | 265 | 247 | zeros |
fn header(name: &str, size: usize) -> [u8; BLOCK] {
    assert!(name.len() <= MOST_NAME, "names of members are short");
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(SIZE.start, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(CHECKSUM.start, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// The name in a header, for people.
fn name_in(header: &[u8; BLOCK]) -> String {
    let name = header.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(&name[..name.len().min(MOST_NAME)]).into_owned()
}

/// The size in a header.
fn size_in(header: &[u8; BLOCK]) -> Option<usize> {
    let digits = std::str::from_utf8(&header[SIZE.start..SIZE.end - 1]).ok()?;
    usize::from_str_radix(digits, 8).ok()
}

/// How many zero bytes follow so many.
fn padding(size: usize) -> usize {
    size.next_multiple_of(BLOCK) - size
}

/// Writes members.
#[derive(Debug)]
pub(super) struct TarWriter<W> {
    to: W,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(to: W) -> Self {
        TarWriter { to }
    }

    pub(super) fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(&header(name, bytes.len()))?;
        self.to.write_all(bytes)?;
        self.to.write_all(&[0; BLOCK][..padding(bytes.len())])
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        Ok(self.to)
    }
}

/// Reads members, each of which is known before it comes.
#[derive(Debug)]
pub(super) struct TarReader<R> {
    from: R,
}

impl<R: Read> TarReader<R> {
    pub(super) fn new(from: R) -> Self {
        TarReader { from }
    }

    /// Reads the next member, which MUST be of this name and at most so long, into `bytes`.
    pub(super) fn member(
        &mut self,
        name: &str,
        most: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ArchiveError> {
        let member = || name.to_owned();
        let mut found = [0; BLOCK];
        self.fill(&mut found, name)?;
        if found == [0; BLOCK] {
            return Err(ArchiveError::Ended { member: member() });
        }
        if name_in(&found) != name {
            return Err(ArchiveError::Foreign { found: name_in(&found), member: member() });
        }
        let malformed = |what| ArchiveError::Malformed { member: member(), what };
        let size = size_in(&found).ok_or_else(|| malformed("its size is no number"))?;
        if size > most {
            return Err(malformed("it is too long"));
        }
        if found != header(name, size) {
            return Err(malformed("its header is not as it must be"));
        }
        bytes.clear();
        let whole = (&mut self.from).take(size as u64).read_to_end(bytes);
        if whole.map_err(|error| ArchiveError::unreadable(name, error))? < size {
            return Err(ArchiveError::Ended { member: member() });
        }
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..padding(size)];
        self.fill(rest, name)?;
        if rest.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(malformed("what fills its last block is not zero"))
        }
    }

    /// Reads the end; answers what is behind it.
    pub(super) fn end(mut self) -> Result<R, ArchiveError> {
        let mut found = [0; 2 * BLOCK];
        self.fill(&mut found, super::END)?;
        if found == [0; 2 * BLOCK] { Ok(self.from) } else { Err(ArchiveError::Trailing) }
    }

    fn fill(&mut self, bytes: &mut [u8], name: &str) -> Result<(), ArchiveError> {
        self.from.read_exact(bytes).map_err(|error| ArchiveError::unreadable(name, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_that_of_the_standard_byte_by_byte() {
        let header = header("tile/0/000", 8192);
        let mut expected = vec![0; 512];
        expected[..10].copy_from_slice(b"tile/0/000");
        expected[100..108].copy_from_slice(b"0000644\0");
        expected[108..116].copy_from_slice(b"0000000\0");
        expected[116..124].copy_from_slice(b"0000000\0");
        expected[124..136].copy_from_slice(b"00000020000\0");
        expected[136..148].copy_from_slice(b"00000000000\0");
        expected[148..156].copy_from_slice(b"007253\0 ");
        expected[156] = b'0';
        expected[257..265].copy_from_slice(b"ustar\x0000");
        assert_eq!(header[..], expected[..]);
    }

    fn written(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        for (name, bytes) in members {
            tar.member(name, bytes).unwrap();
        }
        tar.finish().unwrap()
    }

    fn read(tar: &[u8], members: &[(&str, usize)]) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let mut reader = TarReader::new(tar);
        let mut all = Vec::new();
        for (name, most) in members {
            let mut bytes = vec![9];
            reader.member(name, *most, &mut bytes)?;
            all.push(bytes);
        }
        let behind = reader.end()?;
        if behind.is_empty() { Ok(all) } else { Err(ArchiveError::Trailing) }
    }

    #[test]
    fn members_are_read_as_they_were_written_and_any_other_byte_is_refused() {
        let tar = written(&[("a", b"one"), ("b", &[7; 512]), ("c", b"")]);
        let names = [("a", 3), ("b", 512), ("c", 0)];
        assert_eq!(read(&tar, &names).unwrap(), [b"one".to_vec(), vec![7; 512], vec![]]);
        for at in 0..tar.len() {
            let content = (512..515).contains(&at) || (1536..2048).contains(&at);
            let mut altered = tar.clone();
            altered[at] ^= 0x40;
            assert_eq!(read(&altered, &names).is_ok(), content, "byte {at}");
        }
        for cut in 0..tar.len() {
            assert!(read(&tar[..cut], &names).is_err(), "cut at {cut}");
        }
        assert!(read(&[&tar[..], &[0]].concat(), &names).is_err());
    }

    #[test]
    fn a_member_that_is_too_long_or_foreign_is_refused_by_its_name() {
        let tar = written(&[("a", b"four"), ("evil\u{1b}[2J", b"")]);
        let long = read(&tar, &[("a", 3)]).unwrap_err();
        assert!(matches!(long, ArchiveError::Malformed { member, .. } if member == "a"));
        let foreign = read(&tar, &[("a", 4), ("b", 4)]).unwrap_err();
        assert!(foreign.to_string().contains("b"), "{foreign}");
        let more = read(&tar, &[("a", 4)]).unwrap_err();
        assert!(matches!(more, ArchiveError::Trailing));
        let fewer = read(&tar, &[("a", 4), ("evil\u{1b}[2J", 0), ("b", 1)]).unwrap_err();
        assert!(matches!(fewer, ArchiveError::Ended { member } if member == "b"));
    }
}
