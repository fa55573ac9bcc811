//! The page that documents the settings says what the code does, of each setting and of no other; and what is printed
//! is what is read.

use super::*;
use crate::config::audit::FileAudit;
use crate::config::policy::{FilePlan, FileRole};
use crate::config::tls::FileTls;
use crate::config::usage::FileTenant;

const PAGE: &str = include_str!("../../deploy/keyledger.toml");

/// What stands for a name that is chosen by who writes the file.
const NAME: &str = "<name>";

/// Tables whose members are named by who writes the file.
const CHOSEN: [&str; 3] = ["plans", "roles", "usage.tenants"];

/// A setting as the page has it.
#[derive(Debug)]
struct Told {
    /// As in the page, under the names of its examples.
    place: String,
    /// The value in the page.
    value: toml::Value,
    /// What is said of it, in one line.
    about: String,
}

impl Told {
    /// Its name, whatever the example is called.
    fn name(&self) -> String {
        let inside = |table: &&&str| self.place.starts_with(&format!("{table}."));
        let Some(table) = CHOSEN.iter().find(inside) else { return self.place.clone() };
        let last = self.place.rsplit('.').next().expect("a name");
        format!("{table}.{NAME}.{last}")
    }
}

/// The settings of the page: lines such as `#name = value` below the comment that is about them.
fn told() -> Vec<Told> {
    let (mut found, mut table, mut about) = (Vec::<Told>::new(), String::new(), String::new());
    let mut ended = false;
    for line in PAGE.lines() {
        let bare = line.strip_prefix('#').unwrap_or(line);
        if let Some(comment) = line.strip_prefix("# ") {
            if std::mem::take(&mut ended) {
                about.clear();
            }
            about.push_str(comment.trim());
            about.push(' ');
        } else if let Some(header) = bare.strip_prefix('[') {
            table = format!("{}.", header.trim_matches(['[', ']']));
        } else if let Some((name, value)) = bare.split_once(" = ") {
            let line: toml::Table =
                toml::from_str(bare).unwrap_or_else(|_| panic!("{bare}: {value}"));
            let value = line[name].clone();
            found.push(Told { place: format!("{table}{name}"), value, about: about.clone() });
            ended = true;
        }
    }
    found
}

/// Every setting there is, with its default, and one of each that is named by who writes the file.
fn known() -> BTreeMap<String, Value> {
    let mut file = FileConfig::of(&Config::default());
    file.plans = [(NAME.to_owned(), FilePlan::default())].into();
    file.roles = [(NAME.to_owned(), FileRole::default())].into();
    file.usage.tenants = [(NAME.to_owned(), FileTenant::default())].into();
    file.audit = FileAudit::with_a_witness(file.audit);
    file.tls = Some(FileTls::defaults());
    let mut tree = serde_json::to_value(file).expect("text");
    let witness = tree["audit"]["witnesses"][0].take();
    tree["audit"]["witnesses"] = witness;
    by_name(&tree).into_iter().map(|(name, value)| (name, value.clone())).collect()
}

#[test]
fn the_page_has_every_setting_and_no_other() {
    let told: BTreeSet<String> = told().iter().map(Told::name).collect();
    let known: BTreeSet<String> = known().into_keys().collect();
    assert_eq!(told, known);
}

#[test]
fn the_page_shows_the_default_of_every_setting_and_says_where_there_is_none() {
    let known = known();
    let shipped = tree(&Config::default()).expect("text");
    let shipped = by_name(&shipped);
    for told in told() {
        let Told { place, value, about } = &told;
        let default = shipped.get(place).copied().unwrap_or(&known[&told.name()]);
        match toml::Value::try_from(default) {
            Ok(default) if !is_empty(&default) => assert_eq!(*value, default, "{place}"),
            _ => {
                let says = ["efault", "one table each"].iter().any(|word| about.contains(word));
                assert!(says, "{place} has no default, and the page does not say so: {about}");
            }
        }
    }
}

/// Whether it stands for a setting that must be given, in a table of its own.
fn is_empty(value: &toml::Value) -> bool {
    value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty)
}

#[test]
fn the_page_says_which_settings_a_reload_takes() {
    for told in told() {
        let says = told.about.contains("reload takes");
        assert_eq!(says, is_reloaded(&told.place), "{}: {}", told.place, told.about);
    }
}

/// Settings that are bounded by others too.
const BOUNDED_BY_OTHERS: [&str; 7] = [
    "usage.flush_interval_ms",
    "usage.max_lag_ms",
    "usage.keep_minutes_days",
    "usage.keep_hours_days",
    "usage.keep_days_days",
    "audit.witness_quorum",
    "proxies.trusted_hops",
];

#[test]
fn the_bounds_that_the_page_names_are_those_that_hold() {
    let mut tried = 0;
    for Told { place, value, about } in told() {
        if value.as_integer().is_none() || BOUNDED_BY_OTHERS.contains(&place.as_str()) {
            continue;
        }
        let (low, high) = bounds(&about, &place).unwrap_or_else(|| panic!("{place}: {about}"));
        let taken = |number: i64| {
            let more = match place.starts_with("tls.") {
                true => "tls.certificate = \"a\"\ntls.private_key = \"b\"\n",
                false => "",
            };
            Config::parse(&format!("{more}{place} = {number}\n")).is_ok()
        };
        let found = [low - 1, low, high, high + 1].map(taken);
        assert_eq!(found, [false, true, true, false], "{place}: from {low} to {high}");
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
}

/// The numbers behind the last `from` or `From` that has two; for a plan's, those of its own sentence.
fn bounds(about: &str, place: &str) -> Option<(i64, i64)> {
    let name = place.rsplit('.').next()?;
    let about = about.rfind(&format!("{name}: ")).map_or(about, |at| &about[at..]);
    let numbers = |text: &str| {
        let number = |word: &str| word.trim_end_matches(['.', ',', ';', ':']).parse().ok();
        let words: Vec<i64> = text.split(' ').take(7).filter_map(number).collect();
        Some((*words.first()?, *words.get(1)?))
    };
    about.split("rom ").skip(1).find_map(numbers)
}

/// A configuration in which everything is otherwise.
const OTHERWISE: &str = r#"
data_dir = "/srv/keyledger \"data\""
grpc_addr = "127.0.0.1:1"
ops_addr = "off"
http_addr = "[::1]:2"
danger_serve_plaintext_beyond_loopback = true
key_prefix = "acme"
[data]
must_exist = true
[limits]
calls_in_flight = 1
connections = 2
tls_handshakes = 3
tls_handshake_seconds = 4
streams_per_connection = 5
connection_age_seconds = 6
drain_seconds = 7
who_am_i_per_source_per_minute = 8
unknown_keys_per_source_per_minute = 9
unknown_keys_per_caller_per_minute = 11
[tls]
certificate = "a.pem"
private_key = "a.key"
client_certificate = "required"
client_ca = "ca.pem"
check_interval_seconds = 12
[ledger]
volume_bytes = 65536
scrub_bytes_per_second = 0
scrub_interval_hours = 13
[usage]
window_seconds = 120
flush_interval_ms = 14
max_lag_ms = 150
durability = "before_reply"
max_windows_waiting = 15
when_behind = "shed"
detail = "denied"
keep_minutes_days = 1
keep_hours_days = 2
keep_days_days = 3
[usage.tenants."b.example"]
detail = "every"
[privacy]
source_retention_days = 0
[notices]
expires_soon_days = 16
[audit]
origin = "keys.example.com/prod"
witness_quorum = 1
[audit.anchor]
file = "/mnt/a"
history = "/mnt/b"
url = "https://anchors.example.com:8443/"
interval_seconds = 17
[[audit.witnesses]]
url = "https://witness.example.com"
key = "witness.example.com/w1+4bdc7eaa+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY"
[keys]
dir = "/keys"
[keys.pepper]
source = "environment"
[keys.kek]
source = "environment"
[proxies]
client_address_header = "x-real-ip"
trusted_hops = 2
[tracing]
otlp_endpoint = "https://collector.example.com:4317"
sample_ratio = 0.5
service_name = "keys"
ca = "/collector-ca.pem"
[log]
format = "json"
level = "warn,keyledger=debug"
[plans.tiny]
active_keys = 1
[plans.open]
[roles.reader]
permissions = ["a:*", "reports:read"]
[roles.nobody]
permissions = []
"#;

fn printed(config: &Config, file: Option<(&Path, &str)>, given: &[(&str, &str)]) -> String {
    let given = given.iter().map(|(name, by)| ((*name).to_owned(), (*by).to_owned())).collect();
    config.printed(Origins { file, given: &given }).expect("text")
}

#[test]
fn what_is_printed_is_read_as_what_it_was_printed_of() {
    for text in ["", "[plans.standard]\nactive_keys = 7\n", OTHERWISE] {
        let config = Config::parse(text).expect(text);
        let printed = printed(&config, None, &[]);
        let read = Config::parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(read, config, "{printed}");
    }
    let (plain, other) = (Config::default(), Config::parse(OTHERWISE).expect("well-formed"));
    let differ = plain.differences(&other).expect("text");
    let known =
        known().into_keys().filter(|name| !name.contains(NAME) && !name.contains("command"));
    for name in known {
        let table = name.split('.').next().expect("a name");
        let found = differ
            .iter()
            .any(|differs| *differs == name || name.starts_with(&format!("{differs}.")));
        assert!(found || table == "tls", "{name} is not otherwise: {differ:?}");
    }
}

#[test]
fn every_line_says_where_its_value_comes_from() {
    let text = "grpc_addr = \"127.0.0.1:1\"\nops_addr = \"off\"\n[plans.tiny]\nactive_keys = 1\n\
                [audit.anchor]\nfile = \"a\"\n";
    let config = Config::parse(text).expect("well-formed");
    let file = Some((Path::new("/etc/k\nl.toml"), text));
    let given = [("ops_addr", "flag --ops-addr"), ("data_dir", "environment KEYLEDGER_DATA_DIR")];
    let page = printed(&config, file, &given);
    let lines: Vec<&str> = page.lines().collect();
    for line in [
        r#"grpc_addr = "127.0.0.1:1"  # file /etc/k\nl.toml"#,
        r#"ops_addr = "off"  # flag --ops-addr"#,
        r#"data_dir = "./data"  # environment KEYLEDGER_DATA_DIR"#,
        r#"key_prefix = "kl"  # default"#,
        "#tls: not set  # default",
        "#roles: not set  # default",
        "active_keys = 1  # file /etc/k\\nl.toml",
        "#requests_per_minute: not set  # file /etc/k\\nl.toml",
        "requests_per_minute = 60000  # default",
        r#"file = "a"  # file /etc/k\nl.toml"#,
        "#history: not set  # default",
        "interval_seconds = 60  # default",
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{page}");
    }
}

#[test]
fn what_may_let_somebody_in_is_withheld_and_not_left_out_unseen() {
    let url = "https://anchors.example.com/s3cret";
    for (text, shown) in [
        (format!("[audit.anchor]\nurl = \"{url}\"\n"), "https://anchors.example.com (the rest"),
        (
            "[keys.kek]\nsource = \"command\"\ncommand = [\"/bin/get\", \"s3cret{version}\"]\n"
                .to_owned(),
            "[\"/bin/get\", \"(withheld)\"]",
        ),
    ] {
        let page = printed(&Config::parse(&text).expect("well-formed"), None, &[]);
        assert!(page.contains(shown) && !page.contains("s3cret"), "{page}");
        let said = Config::parse(&page).expect_err("not as it was").to_string();
        assert!(said.contains("audit.anchor.url") || said.contains("keys.kek.command"), "{said}");
    }
}
