//! Checkpoints, as C2SP tlog-checkpoint has them: <https://c2sp.org/tlog-checkpoint>. The text of a signed
//! note whose lines are what the tree is of, its size, and its root.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::merkle::note::{self, KeyName, NoteError, VerifierKey};
use crate::merkle::{Hash, MAX_TREE_SIZE};

/// What a tree was at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What the tree is of: there is one root for each size under one origin.
    pub origin: KeyName,
    /// How many leaves the tree had.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

/// Why a signed checkpoint is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The note is not to be believed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// What was signed is no checkpoint.
    #[error("what was signed is no checkpoint")]
    Malformed,
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// The checkpoint of a note that is signed by one of these keys: of those that have the name of its
    /// origin, since a key speaks for that alone. Lines behind the third are passed over.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is not to be believed.
    pub fn open(note: &str, keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let origin = note.split('\n').next();
        let of_it = keys.iter().filter(|key| origin == Some(key.name().as_str()));
        let text = note::open(note, of_it)?;
        Checkpoint::parse(text).ok_or(CheckpointError::Malformed)
    }

    /// What a note says that need not be signed by anybody; none if it is no note of a checkpoint. For
    /// telling apart what one has oneself: it MUST NOT be believed.
    #[must_use]
    pub fn of_unverified(note: &str) -> Option<Self> {
        Checkpoint::parse(note::text(note)?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = KeyName::parse(lines.next()?)?;
        let digits = lines.next()?;
        let size = digits.parse().ok().filter(|size| *size <= MAX_TREE_SIZE)?;
        let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let whole = digits == u64::to_string(&size) && lines.all(|line| !line.is_empty());
        whole.then_some(Checkpoint { origin, size, root: Hash(root) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::note::tests::signer;

    fn checkpoint(origin: &str, size: u64) -> Checkpoint {
        let origin = KeyName::parse(origin).unwrap();
        Checkpoint { origin, size, root: Hash([7; 32]) }
    }

    #[test]
    fn the_text_is_that_of_the_specification() {
        // The example of the specification, whose root is this.
        let root = STANDARD.decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=").unwrap();
        let origin = KeyName::parse("example.com/behind-the-sofa").unwrap();
        let root = Hash(root.try_into().unwrap());
        let text = "example.com/behind-the-sofa\n20852163\n\
                    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint { origin, size: 20_852_163, root };
        assert_eq!(checkpoint.text(), text);
        assert_eq!(Checkpoint::parse(text), Some(checkpoint));
    }

    #[test]
    fn a_signed_checkpoint_opens_with_its_key_alone() {
        let (key, sign) = signer("example.com/log", 1);
        let (other, _) = signer("example.com/log", 2);
        let expected = checkpoint("example.com/log", 5);
        let note = sign(&expected.text());
        assert_eq!(Checkpoint::open(&note, &[other.clone(), key.clone()]), Ok(expected));
        let unknown = CheckpointError::Note(NoteError::UnknownKeys);
        assert_eq!(Checkpoint::open(&note, &[other]), Err(unknown));
        let altered = note.replacen("\n5\n", "\n6\n", 1);
        let bad = CheckpointError::Note(NoteError::BadSignature);
        assert_eq!(Checkpoint::open(&altered, &[key]), Err(bad));
    }

    #[test]
    fn a_key_speaks_for_the_origin_of_its_name_alone() {
        let (key, sign) = signer("example.com/log", 1);
        let (other, _) = signer("example.com/other", 1);
        let note = sign(&checkpoint("example.com/other", 5).text());
        let opened = Checkpoint::open(&note, &[key, other]);
        assert_eq!(opened, Err(CheckpointError::Note(NoteError::UnknownKeys)));
    }

    #[test]
    fn what_is_no_checkpoint_is_refused_though_it_is_signed() {
        let (key, sign) = signer("example.com/log", 1);
        let root = STANDARD.encode([7; 32]);
        let texts = [
            "example.com/log\n5\n".to_owned(),
            format!("example.com/log\n05\n{root}\n"),
            format!("example.com/log\n+5\n{root}\n"),
            format!("example.com/log\n-5\n{root}\n"),
            format!("example.com/log\n9223372036854775808\n{root}\n"),
            format!("example.com/log\n5\n{}\n", &root[..40]),
            format!("example.com/log\n5\n{root}\n\nmore\n"),
        ];
        for text in texts {
            let opened = Checkpoint::open(&sign(&text), std::slice::from_ref(&key));
            assert_eq!(opened, Err(CheckpointError::Malformed), "{text}");
        }
        let more = format!("example.com/log\n5\n{root}\nmore\n");
        assert!(Checkpoint::open(&sign(&more), &[key]).is_ok());
    }
}
