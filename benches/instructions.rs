//! Instructions, not seconds: counted by callgrind, the same each time whatever else the machine does.
//!
//!     cargo bench --bench instructions
//!
//! Ends with an error if comparing a tag takes another number of instructions by where, or whether, the two differ:
//! then its time would tell who guesses a secret how far the guess is right. Needs valgrind. It does not know the
//! newest instructions of a processor, so hashes are counted without them; comparing uses none.
//!
//! Ends with an error, too, if the decision on a key takes 5 % more than the figure that is kept in
//! `benches/instructions/decision.kept`: that is how a slower Authenticate shows where time cannot be measured.

#[path = "instructions/decision.rs"]
mod decision;

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use keyledger::domain::tag::Tag;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often each run compares: one instruction more or less would be a thousand.
const COMPARISONS: u32 = 1_000;

/// Where two tags differ: in words, and which bytes are changed.
const DIFFERENCES: [(&str, &[usize]); 6] = [
    ("nowhere", &[]),
    ("the first byte", &[0]),
    ("the eighth byte", &[7]),
    ("the last byte", &[31]),
    ("the first and the last byte", &[0, 31]),
    ("half of the bytes", &[0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30]),
];

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn say(line: &str) {
    println!("{line}");
}

/// How two tags are compared.
#[derive(Clone, Copy)]
enum Way {
    /// As the program does it.
    Ours,
    /// Byte by byte until they differ: what the counting must be able to tell from ours.
    UntilTheyDiffer,
}

impl Way {
    /// What a run is told in which this way is counted.
    fn argument(self) -> &'static str {
        match self {
            Way::Ours => "--count-ours",
            Way::UntilTheyDiffer => "--count-until-they-differ",
        }
    }

    /// Compares two tags that differ as the case of that number says.
    fn compare(self, case: usize) {
        let stored = [0x5a; 32];
        let mut presented = stored;
        for at in DIFFERENCES[case].1 {
            presented[*at] ^= 1;
        }
        let [stored, presented] = [stored, presented].map(Tag::from_bytes);
        for _ in 0..COMPARISONS {
            black_box(counted(self, &stored, &presented));
        }
    }

    /// How many instructions each case takes.
    fn count(self) -> Result<Vec<u64>, String> {
        let mut counts = Vec::new();
        for (case, (difference, _)) in DIFFERENCES.iter().enumerate() {
            let count = count(self, case)?;
            let each = count / u64::from(COMPARISONS);
            say(&format!(
                "  differing in {difference}: {each} instructions to compare, {count} in all"
            ));
            counts.push(count);
        }
        Ok(counts)
    }
}

/// The only function whose instructions are counted, with what it calls.
#[inline(never)]
fn counted(way: Way, stored: &Tag, presented: &Tag) -> bool {
    let (stored, presented) = (black_box(stored), black_box(presented));
    match way {
        Way::Ours => stored.matches(presented),
        Way::UntilTheyDiffer => {
            let pairs = stored.as_bytes().iter().zip(presented.as_bytes());
            pairs.map(black_box).all(|(one, other)| one == other)
        }
    }
}

/// How many instructions [`counted`] takes in a run of the case of that number.
fn count(way: Way, case: usize) -> Result<u64, String> {
    collected("*instructions::counted*", &[way.argument(), &case.to_string()])
}

/// How many instructions the functions of that name take, with what they call, in a run of this program.
fn collected(functions: &str, arguments: &[&str]) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={functions}"))
        .arg(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let count = told.lines().find_map(|line| line.split("Collected : ").nth(1));
    let count = count.and_then(|count| count.trim().parse().ok());
    count.filter(|_| output.status.success()).ok_or_else(|| format!("valgrind failed: {told}"))
}

fn run() -> Result<(), String> {
    say("tags compared byte by byte until they differ:");
    let control = Way::UntilTheyDiffer.count()?;
    say("tags compared by keyledger:");
    let ours = Way::Ours.count()?;
    if control.iter().all(|count| *count == control[0]) {
        return Err(
            "the counting does not tell where two tags differ, even if comparing does".to_owned()
        );
    }
    if ours.iter().any(|count| *count != ours[0]) {
        return Err("comparing takes longer or shorter by where two tags differ".to_owned());
    }
    say("comparing takes the same wherever two tags differ");
    decision::check()
}

/// The way and the case that this run is to be counted in, if any.
fn asked() -> Option<(Way, usize)> {
    let mut arguments = std::env::args().skip(1);
    let argument = arguments.next()?;
    let way = [Way::Ours, Way::UntilTheyDiffer].into_iter().find(|way| way.argument() == argument);
    Some((way?, arguments.next()?.parse().ok()?))
}

#[expect(clippy::print_stderr, reason = "a failure is told where failures are looked for")]
fn main() -> ExitCode {
    if let Some((way, case)) = asked() {
        way.compare(case);
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [argument, data_dir, secret] = &words[..]
        && argument == decision::ARGUMENT
    {
        decision::decide(Path::new(data_dir), secret);
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
