//! What more keys cost: throughput and latency beside the empty RPC of the same turns, memory and start, by how many
//! keys there are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::house::{self, House};
use crate::order::{Load, Measured, Order};
use crate::plot::{self, Plot};
use crate::process;
use crate::program::{Process, serve};
use crate::table::{spread, write_json};
use crate::{CONNECTIONS, IN_FLIGHT, Profile, WARMING, now, say};

/// Of a server with so many keys.
#[derive(Debug, Serialize)]
struct Size {
    keys: usize,
    calls_per_second: f64,
    /// To the empty RPC, in the middle, at least and at most.
    ratio: [f64; 3],
    p99_micros: f64,
    /// Of the process, just started.
    start_millis: f64,
    memory_megabytes: f64,
}

async fn load(
    server: &Process,
    house: &House,
    (decides, load): (bool, Load),
    span: Duration,
) -> Measured {
    let order = Order {
        address: server.address.clone(),
        process: server.child.id(),
        credential: house.credential.clone(),
        secrets: house.secrets.clone(),
        decides,
        load,
        connections: CONNECTIONS,
        warming: WARMING,
        span,
    };
    let measured = tokio::task::spawn_blocking(move || process::measure(&order)).await;
    measured.expect("no panic")
}

async fn measure(dir: &Path, keys: usize, profile: &Profile) -> Size {
    let house = House::furnish(dir, keys).await;
    let config = house::write_config(dir, "bounded");
    let began = now();
    let server = Process::start(&mut serve(&house.data_dir, &config));
    let start = began.elapsed();
    let memory = process::memory(server.child.id());
    let nothing = Process::start(&mut process::nothing(&house.answer));
    let each = Load::Each { in_flight: IN_FLIGHT };
    load(&server, &house, (true, each), profile.turn).await;
    let closed = Load::Closed { in_flight: IN_FLIGHT };
    let (mut rates, mut ratios, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..profile.rounds.div_ceil(2) {
        let empty = load(&nothing, &house, (false, closed), profile.turn).await;
        let ours = load(&server, &house, (true, closed), profile.turn).await;
        rates.push(ours.rate);
        ratios.push(ours.rate / empty.rate);
        p99.push(ours.p99);
    }
    server.stop();
    Size {
        keys,
        calls_per_second: spread(rates)[0],
        ratio: spread(ratios),
        p99_micros: spread(p99)[0],
        start_millis: start.as_secs_f64() * 1e3,
        memory_megabytes: memory as f64 / 1e6,
    }
}

pub(crate) async fn run(dir: &Path, sizes: &[usize], profile: &Profile) {
    say("\nBy how many keys there are, bounded");
    say(&format!(
        "{:<12} {:>10} {:<18} {:>8} {:>9} {:>7}",
        "keys", "calls/s", "  : empty", "p99 µs", "start ms", "MB"
    ));
    let mut measured = Vec::new();
    for keys in sizes {
        let own = dir.join(format!("scale-{keys}"));
        std::fs::create_dir(&own).expect("made");
        let size = measure(&own, *keys, profile).await;
        // The largest take gigabytes.
        std::fs::remove_dir_all(&own).expect("removed");
        let [middle, least, most] = size.ratio;
        say(&format!(
            "{:<12} {:>10.0}   {:<16} {:>8.0} {:>9.0} {:>7.0}",
            size.keys,
            size.calls_per_second,
            format!("{middle:.2} ({least:.2}-{most:.2})"),
            size.p99_micros,
            size.start_millis,
            size.memory_megabytes,
        ));
        measured.push(size);
    }
    write_json("scale.json", &measured);
    let by_keys = |value: fn(&Size) -> f64| {
        measured.iter().map(|size| (size.keys as f64, value(size))).collect()
    };
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("scale.png");
    let plots = [
        Plot { title: "ratio to the empty RPC", points: by_keys(|it| it.ratio[0]) },
        Plot { title: "p99 in µs", points: by_keys(|it| it.p99_micros) },
        Plot { title: "start in ms", points: by_keys(|it| it.start_millis) },
        Plot { title: "memory in MB", points: by_keys(|it| it.memory_megabytes) },
    ];
    plot::write(&path, &plots).expect("written");
    let titles: Vec<_> = plots.iter().map(|plot| plot.title).collect();
    say(&format!("by keys, from the top, {}: {}", titles.join(", "), path.display()));
}
