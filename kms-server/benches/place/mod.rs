//! An instance of the writer on the embedded store and the `file` medium, and how time is told: what the benchmarks of the writer have in
//! common.
#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use kms_core::{id::InstanceId, secret::SealSecret};
use kms_server::{
    effaceable::file::FileMedium,
    erasure::{Options, Writer},
    store::{Store, open, sidecar::Engine},
};

fn seal() -> SealSecret {
    SealSecret::copied_from(&[0x5E; 32]).expect("32 bytes")
}

/// Where it lies.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(root: &Path, name: &str) -> Self {
        let place = Self(root.join(name));
        std::fs::create_dir_all(&place.0).expect("a directory");
        let instance = InstanceId::random().expect("randomness");
        let opened = open::create(&place.0.join("store"), Engine::Sled, instance).expect("a store");
        let mut medium = FileMedium::create(&place.0.join("epochs"), instance).expect("a medium");
        Writer::create(&*opened.store, &mut medium, &seal(), instance).expect("an instance");
        place
    }

    /// Opens everything; says how long the writer took of it.
    pub(crate) fn start(&self) -> (Writer, Duration) {
        self.start_with(Duration::ZERO, |store| store)
    }

    /// With an interval in which destructions wait for others, and a store around the one on disk.
    pub(crate) fn start_with(
        &self,
        interval: Duration,
        around: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
    ) -> (Writer, Duration) {
        let opened = open::open(&self.0.join("store")).expect("the store");
        let medium = FileMedium::open(&self.0.join("epochs"), opened.instance).expect("the medium");
        let mut options = Options::new(self.0.join("redo"));
        options.erasure_interval = interval;
        let store = around(opened.store);
        let begun = Instant::now();
        let (writer, _) = Writer::start(store, Box::new(medium), seal(), options).expect("a start");
        (writer, begun.elapsed())
    }
}

pub(crate) fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

pub(crate) async fn timed<F: Future>(work: F) -> Duration {
    let begun = Instant::now();
    work.await;
    begun.elapsed()
}

pub(crate) fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
