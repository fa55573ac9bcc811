//! `[[audit.witnesses]]`: who is asked to cosign checkpoints.

use serde::{Deserialize, Serialize};

use super::{ConfigError, PostUrl, post_url, setting};
use crate::merkle::cosignature::WitnessKey;

/// Most witnesses: each is asked by a thread of its own.
const MAX_WITNESSES: usize = 8;

/// What is asked of a witness, behind its submission prefix.
const ADD_CHECKPOINT: &str = "/add-checkpoint";

/// Who is asked to cosign checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessSettings {
    /// The witnesses, at most 8; no name and no key twice.
    pub all: Vec<Witness>,
    /// How many of them must have cosigned a checkpoint before it is answered as one that is cosigned. From 1
    /// to their number, and 0 if there are none. Default: more than half, so that no two histories each have as
    /// many, unless a witness signs both.
    pub quorum: usize,
}

/// One that is asked to cosign checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Where `add-checkpoint` is asked of it.
    pub add_checkpoint: PostUrl,
    /// What verifies its cosignatures.
    pub key: WitnessKey,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileWitness {
    url: String,
    key: String,
}

/// The settings, each within its bounds.
pub(super) fn settings(
    file: &[FileWitness],
    quorum: Option<usize>,
) -> Result<WitnessSettings, ConfigError> {
    if file.len() > MAX_WITNESSES {
        return Err(setting("audit.witnesses", format!("must be at most {MAX_WITNESSES}")));
    }
    let mut all: Vec<Witness> = Vec::with_capacity(file.len());
    for (number, given) in (1..).zip(file) {
        let witness = given.settings(number)?;
        if all.iter().any(|other| other.key.is_same_witness(&witness.key)) {
            let name = format!("audit.witnesses, number {number}: key");
            return Err(setting(
                name,
                "must not be of the same witness as another, by name or key",
            ));
        }
        all.push(witness);
    }
    let most = all.len();
    let quorum = match quorum {
        None if all.is_empty() => 0,
        None => most / 2 + 1,
        Some(given) if (1..=most).contains(&given) => given,
        Some(_) if all.is_empty() => {
            return Err(setting("audit.witness_quorum", "must not be set without audit.witnesses"));
        }
        Some(_) => {
            let problem = format!("must be from 1 to {most}, the number of audit.witnesses");
            return Err(setting("audit.witness_quorum", problem));
        }
    };
    Ok(WitnessSettings { all, quorum })
}

impl FileWitness {
    pub(super) fn of(witness: &Witness) -> Self {
        let url = witness.add_checkpoint.uri().to_string();
        let prefix = url.strip_suffix(ADD_CHECKPOINT).unwrap_or(&url);
        FileWitness { url: prefix.to_owned(), key: witness.key.to_string() }
    }

    fn settings(&self, number: usize) -> Result<Witness, ConfigError> {
        let name = |what| format!("audit.witnesses, number {number}: {what}");
        let key = WitnessKey::parse(&self.key).ok_or_else(|| {
            setting(
                name("key"),
                "must be <name>+<id>+<key> of an Ed25519 witness, as its operator gives it",
            )
        })?;
        let prefix = self.url.trim_end_matches('/');
        if prefix.contains('?') || prefix.ends_with(ADD_CHECKPOINT) {
            let must = format!("must be a prefix, without a query and without {ADD_CHECKPOINT}");
            return Err(setting(name("url"), must));
        }
        let url = format!("{prefix}{ADD_CHECKPOINT}");
        Ok(Witness { add_checkpoint: post_url(&name("url"), &url)?, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const KEYS: [&str; 2] = [
        "witness.example.com/w1+4bdc7eaa+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY",
        "w+10043a1a+BIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c",
    ];

    fn witness(url: &str, key: &str) -> String {
        format!("[[audit.witnesses]]\nurl = \"{url}\"\nkey = \"{key}\"\n")
    }

    fn parsed(text: &str) -> WitnessSettings {
        Config::parse(text).unwrap_or_else(|error| panic!("{error}: {text}")).audit.witnesses
    }

    fn refused(text: &str) -> String {
        let said = Config::parse(text).expect_err(text).to_string();
        assert!(!said.contains("s3cret"), "{said}");
        said
    }

    #[test]
    fn who_is_asked_and_where_is_read() {
        let [first, second] = KEYS;
        let text = witness("https://example.com/s3cret/", first) + &witness("http://b", second);
        let settings = parsed(&text);
        assert!(!format!("{settings:?}").contains("s3cret"), "the URL is not shown");
        let urls = settings.all.iter().map(|witness| witness.add_checkpoint.uri().to_string());
        let expected = ["https://example.com/s3cret/add-checkpoint", "http://b/add-checkpoint"];
        assert_eq!(urls.collect::<Vec<_>>(), expected);
        assert_eq!(settings.all[1].key.to_string(), second);
        assert_eq!(settings.quorum, 2);
        assert_eq!(parsed(&format!("[audit]\nwitness_quorum = 1\n{text}")).quorum, 1);
        assert_eq!(parsed(&witness("http://b", second)).quorum, 1);
        assert_eq!(parsed(""), WitnessSettings::default());
    }

    #[test]
    fn a_bad_value_names_its_setting_and_is_not_printed() {
        let [first, second] = KEYS;
        for (url, key, what) in [
            ("ftp://s3cret", first, "url"),
            ("http://user:s3cret@host", first, "url"),
            ("http://host?s3cret", first, "url"),
            ("http://s3cret/add-checkpoint/", first, "url"),
            ("http://host", "s3cret", "key"),
            ("http://host", &second.replace("+10", "+11"), "key"),
        ] {
            let said = refused(&witness(url, key));
            assert!(said.contains(&format!("audit.witnesses, number 1: {what}")), "{said}");
        }
        let twice = witness("http://a", first) + &witness("http://s3cret", first);
        assert!(refused(&twice).contains("audit.witnesses, number 2: key"));
        let many: String = (0..=MAX_WITNESSES).map(|_| witness("http://a", first)).collect();
        assert!(refused(&many).contains("audit.witnesses: must be at most 8"));
        let alone = refused("[audit]\nwitness_quorum = 1\n");
        assert!(alone.contains("audit.witness_quorum: must not be set without"), "{alone}");
        for quorum in [0, 2] {
            let text =
                format!("[audit]\nwitness_quorum = {quorum}\n{}", witness("http://a", first));
            assert!(refused(&text).contains("audit.witness_quorum: must be from 1 to 1"));
        }
    }
}
