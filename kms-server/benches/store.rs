//! Figures of the store engines: `cargo bench -p kms-server --bench store -- [records]` (1,000,000 where nothing is said).
//!
//! For each engine: how long a store of so many records of 464 bytes takes to open, after a clean close and after a kill, with the
//! page cache warm; what is resident then, and after 100,000 reads; and what a small commit costs beside a bare `fdatasync` of as
//! many bytes, in turns in the same run. Every measurement is a process of its own.

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that fails has nobody to tell but the one who runs it"
)]

use std::{
    env, fs,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use kms_core::id::InstanceId;
use kms_server::store::{Batch, Store, open, sidecar::Engine};

const VALUE: usize = 448;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", engine, path, records] => fill(engine, Path::new(path), records.parse().unwrap()),
        ["die", path] => commit_until_killed(Path::new(path)),
        ["open", path, records] => open_and_read(Path::new(path), records.parse().unwrap()),
        ["commits", engine, path] => commits(engine, Path::new(path)),
        [records] => all(records.parse().unwrap()),
        _ => all(1_000_000),
    }
}

fn all(records: u64) {
    for engine in ["sled", "redb"] {
        let directory = env::temp_dir().join(format!("kms-store-figures-{engine}-{}", std::process::id()));
        let store = directory.join("store");
        fs::create_dir_all(&directory).unwrap();
        let (path, count) = (store.to_str().unwrap(), records.to_string());
        run(&["fill", engine, path, &count]);
        run(&["open", path, &count]);
        kill_while_committing(path);
        run(&["open", path, &count]);
        run(&["commits", engine, directory.join("small").to_str().unwrap()]);
        fs::remove_dir_all(&directory).unwrap();
    }
}

fn this() -> Command {
    Command::new(env::current_exe().unwrap())
}

fn run(arguments: &[&str]) {
    assert!(this().args(arguments).status().unwrap().success());
}

fn kill_while_committing(path: &str) {
    let mut child = this().args(["die", path]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.take(3000).for_each(drop);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn key(number: u64) -> Vec<u8> {
    // Spread as version ids under tenants are: 1,000 tenants, each filled in order.
    let (tenant, leaf) = (number % 1000, number / 1000);
    [b"v".as_slice(), &(tenant << 32 | leaf).to_be_bytes(), &[0; 7]].concat()
}

fn record(number: u64, length: usize) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut value = vec![0; length];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for byte in &mut value {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
    (key(number), Some(value))
}

fn create(engine: &str, path: &Path) -> std::sync::Arc<dyn Store> {
    let engine = if engine == "sled" { Engine::Sled } else { Engine::Redb };
    open::create(path, engine, InstanceId([1; 16])).unwrap().store
}

fn fill(engine: &str, path: &Path, records: u64) {
    let store = create(engine, path);
    let start = Instant::now();
    for first in (0..records).step_by(2000) {
        let writes = (first..records.min(first + 2000)).map(|number| record(number, VALUE)).collect();
        store.commit(store.committed().next(), Batch { writes, ..Batch::default() }).unwrap();
    }
    let filled = start.elapsed();
    drop(store);
    println!(
        "{engine}: {records} records of {} bytes in {filled:.1?}, closed after {:.1?}, {} MiB of file",
        VALUE + 16,
        start.elapsed() - filled,
        fs::metadata(path.join(engine).join("db")).unwrap().len() >> 20,
    );
}

fn commit_until_killed(path: &Path) {
    let store = open::open(path).unwrap().store;
    for number in 0.. {
        let writes = (0..4).map(|of| record(number * 97 + of, VALUE)).collect();
        store.commit(store.committed().next(), Batch { writes, ..Batch::default() }).unwrap();
        println!("{number}");
        std::io::stdout().flush().unwrap();
    }
}

fn open_and_read(path: &Path, records: u64) {
    let start = Instant::now();
    let store = open::open(path).unwrap().store;
    assert!(store.get(&key(records / 2)).unwrap().is_some());
    let opened = start.elapsed();
    let (rss, peak) = (resident("VmRSS"), resident("VmHWM"));
    let start = Instant::now();
    let mut number = 1;
    for _ in 0..100_000 {
        number = (number * 48271) % 0x7fff_ffff;
        assert!(store.get(&key(number % records)).unwrap().is_some());
    }
    let read = start.elapsed() / 100_000;
    println!(
        "  open at commit {}: {opened:.2?}, {rss} MiB resident (peak {peak}); a read {read:.1?}, {} MiB after 100,000",
        store.committed(),
        resident("VmRSS"),
    );
}

fn commits(engine: &str, path: &Path) {
    let store = create(engine, path);
    let bare = path.with_extension("bare");
    let mut bare_file = OpenOptions::new().create_new(true).append(true).open(&bare).unwrap();
    let (mut whole, mut barrier) = (Vec::new(), Vec::new());
    for number in 0..600 {
        let writes: Vec<_> = (0..8).map(|of| record(number * 8 + of, VALUE)).collect();
        let bytes: Vec<u8> = writes.iter().flat_map(|(_, value)| value.clone().unwrap()).collect();
        barrier.push(timed(|| append(&mut bare_file, &bytes)));
        whole.push(timed(|| {
            store.commit(store.committed().next(), Batch { writes, ..Batch::default() }).unwrap()
        }));
    }
    let (whole, barrier) = (median(whole), median(barrier));
    println!(
        "  a commit of 8 records {whole:.0?}; write and fdatasync of as many bytes {barrier:.0?}; ratio {:.2}",
        whole.as_secs_f64() / barrier.as_secs_f64(),
    );
    fs::remove_file(bare).unwrap();
}

fn append(file: &mut File, bytes: &[u8]) {
    file.write_all(bytes).unwrap();
    file.sync_data().unwrap();
}

fn timed(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// MiB, as the operating system counts them.
fn resident(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
