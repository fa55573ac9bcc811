//! What can be set for a run: `name=number` on the command line.

/// Every name, and which parts know it.
const NAMES: [&str; 9] = [
    "rounds",       // recording, sealing: how many times the variants take turns
    "milliseconds", // recording: of one turn
    "seconds",      // soak: of the load
    "keys",         // recording, bytes, soak: keys that are used
    "in_flight",    // recording: that many alone; bytes, soak: calls under way
    "uses",         // bytes: how many
    "minutes",      // bytes: over how many the uses are spread
    "windows",      // sealing: how many are sealed
    "revocations",  // sealing: of the idle phase
];

/// What was set.
pub(crate) struct Settings(Vec<(String, u64)>);

impl Settings {
    /// # Panics
    /// If a name is unknown or its value no number.
    pub(crate) fn parse(words: &[&String]) -> Self {
        let pairs = words.iter().map(|word| {
            let (name, value) = word.split_once('=').expect("name=number");
            assert!(NAMES.contains(&name), "{name} is none of {}", NAMES.join(", "));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
        });
        Settings(pairs.collect())
    }

    pub(crate) fn given(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| *value)
    }

    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.given(name).unwrap_or(default)
    }

    pub(crate) fn count(&self, name: &str, default: u64) -> usize {
        usize::try_from(self.number(name, default)).expect("64 bits")
    }
}
