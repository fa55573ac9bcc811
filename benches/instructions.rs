//! Instructions, not seconds: counted by callgrind, the same each time whatever else the machine does.
//!
//!     cargo bench --bench instructions
//!
//! Ends with an error if comparing a tag, or a credential with one that is remembered, takes another number of
//! instructions by where, or whether, the two differ: then its time would tell who guesses a secret how far the guess
//! is right. Needs valgrind. It does not know the newest instructions of a processor, so hashes are counted without
//! them; comparing uses none.
//!
//! Tells what it takes to count and time a call.
//!
//! Ends with an error, too, if the decision on a key takes 5 % more than the figure that is kept in
//! `benches/instructions/decision.kept`: that is how a slower Authenticate shows where time cannot be measured.

#[path = "instructions/decision.rs"]
mod decision;
#[path = "instructions/measuring.rs"]
mod measuring;

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use keyledger::domain::tag::{Tag, credentials_match};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often each run compares: one instruction more or less would be a thousand.
const COMPARISONS: u32 = 1_000;

const TAG_BYTES: usize = 32;

/// As long as a caller's credential with the prefix that keys have unless it is configured: no whole number of words.
const CREDENTIAL_BYTES: usize = "kl_svc_".len() + 17 + 43 + 6;

/// Whether two that are compared differ in the byte at a place, given also how many there are.
type Differs = fn(at: usize, of: usize) -> bool;

/// Where the two differ, in words too.
const DIFFERENCES: [(&str, Differs); 6] = [
    ("nowhere", |_, _| false),
    ("the first byte", |at, _| at == 0),
    ("the eighth byte", |at, _| at == 7),
    ("the last byte", |at, of| at + 1 == of),
    ("the first and the last byte", |at, of| at == 0 || at + 1 == of),
    ("half of the bytes", |at, _| at % 2 == 0),
];

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn say(line: &str) {
    println!("{line}");
}

/// What is compared, and how.
#[derive(Clone, Copy)]
enum Way {
    /// Tags, as the program does it.
    Tags,
    /// A credential with one that a connection brought before, as the program does it.
    Credentials,
    /// Tags byte by byte until they differ: what the counting must be able to tell from ours.
    UntilTheyDiffer,
}

impl Way {
    const ALL: [Way; 3] = [Way::Tags, Way::Credentials, Way::UntilTheyDiffer];

    /// What a run is told in which this way is counted.
    fn argument(self) -> &'static str {
        match self {
            Way::Tags => "--count-tags",
            Way::Credentials => "--count-credentials",
            Way::UntilTheyDiffer => "--count-until-they-differ",
        }
    }

    /// Compares two that differ as the case of that number says.
    fn compare(self, case: usize) {
        match self {
            Way::Tags => {
                let [stored, presented] = pair::<TAG_BYTES>(case).map(Tag::from_bytes);
                repeat(|| black_box(&stored).matches(black_box(&presented)));
            }
            Way::Credentials => {
                let [kept, presented] = pair::<CREDENTIAL_BYTES>(case);
                repeat(|| credentials_match(black_box(&kept), black_box(&presented)));
            }
            Way::UntilTheyDiffer => {
                let [stored, presented] = pair::<TAG_BYTES>(case);
                repeat(|| {
                    let pairs = black_box(&stored).iter().zip(black_box(&presented));
                    pairs.map(black_box).all(|(one, other)| one == other)
                });
            }
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

/// Two that differ as the case of that number says.
fn pair<const N: usize>(case: usize) -> [[u8; N]; 2] {
    let (_, differs) = DIFFERENCES[case];
    [[0x5a; N], std::array::from_fn(|at| 0x5a ^ u8::from(differs(at, N)))]
}

fn repeat(compare: impl Fn() -> bool) {
    for _ in 0..COMPARISONS {
        black_box(counted(&compare));
    }
}

/// The only function whose instructions are counted, with what it calls.
#[inline(never)]
fn counted(compare: &dyn Fn() -> bool) -> bool {
    compare()
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
    if control.iter().all(|count| *count == control[0]) {
        return Err(
            "the counting does not tell where two tags differ, even if comparing does".to_owned()
        );
    }
    for (way, what) in [(Way::Tags, "tags"), (Way::Credentials, "credentials")] {
        say(&format!("{what} compared by keyledger:"));
        let counts = way.count()?;
        if counts.iter().any(|count| *count != counts[0]) {
            return Err(format!("comparing takes longer or shorter by where two {what} differ"));
        }
        say(&format!("comparing takes the same wherever two {what} differ"));
    }
    measuring::tell()?;
    decision::check()
}

/// The way and the case that this run is to be counted in, if any.
fn asked() -> Option<(Way, usize)> {
    let mut arguments = std::env::args().skip(1);
    let argument = arguments.next()?;
    let way = Way::ALL.into_iter().find(|way| way.argument() == argument);
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
    if let [argument, way] = &words[..]
        && argument == measuring::ARGUMENT
    {
        measuring::call(way);
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
