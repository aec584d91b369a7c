//! The program that is recorded: this test binary, run again with one test and what to do in its environment.

use std::{env, ffi::OsString, path::Path, process, sync::Arc, time::Duration};

use super::{
    super::{
        crash::Work,
        world::{destroy, versions},
    },
    place::{FIRST, SECOND, living, open_store, say, start_on},
    record::{Event, Fault, record},
};
use crate::{
    erasure::{Writer, mistake::Mistake, writer::CommitFailed},
    store::{Store, deadline::Watched},
};

const ROOT: &str = "KMS_TEST_DISK";
const WORK: &str = "KMS_TEST_WORK";
const MISTAKE: &str = "KMS_TEST_MISTAKE";

/// Longest time for one commit, which takes milliseconds: after some errors sled waits for ever.
const LONGEST: Duration = Duration::from_secs(10);

const WORKS: [Work; 3] = [Work::DestroyOne, Work::DestroyMany, Work::DestroyTenant];
const MISTAKES: [Mistake; 8] = [
    Mistake::EffaceBeforeBarrier,
    Mistake::EffaceAfterFailedBarrier,
    Mistake::KeepFailedSecret,
    Mistake::KeepRoot,
    Mistake::CertifyBeforeEffacing,
    Mistake::KeepChildren,
    Mistake::EffaceUnopened,
    Mistake::MediumInBackup,
];

/// What is recorded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run {
    /// A start, the work, a create after it (of one version, before it too), a stop.
    Work(Work),
    /// A start and a stop.
    Recovery,
}

/// Runs the program on the files below `root`, under the recorder.
pub(super) fn run(root: &Path, run: Run, mistake: Option<Mistake>, fault: Option<&Fault>) -> Vec<Event> {
    let work = match run {
        Run::Work(work) => format!("{work:?}"),
        Run::Recovery => String::new(),
    };
    let mistake = mistake.map(|mistake| format!("{mistake:?}")).unwrap_or_default();
    let variables: [(&str, OsString); 3] =
        [(ROOT, root.into()), (WORK, work.into()), (MISTAKE, mistake.into())];
    record(root, "erasure::tests::disk::child::child", &variables, fault)
}

/// Does nothing unless a test here started it.
#[test]
fn child() {
    let Some(root) = env::var_os(ROOT) else { return };
    let root = Path::new(&root);
    let named = |name, found: String| env::var(name).is_ok_and(|wanted| wanted == found);
    let work = WORKS.into_iter().find(|work| named(WORK, format!("{work:?}")));
    let mistake = MISTAKES.into_iter().find(|mistake| named(MISTAKE, format!("{mistake:?}")));
    // As in the server: a commit that does not end stops the process.
    let watched = Watched::new(open_store(root), LONGEST, Arc::new(|_: &str| process::exit(0)));
    let store: Arc<dyn Store> = Arc::new(watched.unwrap());
    let (writer, _) = start_on(root, store.clone(), mistake).unwrap();
    if let Some(work) = work {
        say(root, "begin");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(act(root, &*store, &writer, work));
    }
    writer.stop();
}

async fn act(root: &Path, store: &dyn Store, writer: &Writer, work: Work) {
    let live = living(store);
    // What was read for a create is in the writer's cache when the epoch comes.
    if matches!(work, Work::DestroyOne) && versions(writer, FIRST, 1).await.is_ok() {
        say(root, &format!("made {}", head(writer)));
    }
    let done = match work.run(writer, FIRST, &live).await {
        Ok(()) => true,
        Err(CommitFailed::Write(_) | CommitFailed::Change(_)) => false,
        // The process must stop here; the restart decides.
        Err(_) => process::exit(0),
    };
    match done {
        true => say(root, &format!("done {}", head(writer))),
        false => say(root, "refused"),
    }
    // Whether it was done or not, the server goes on.
    let place = if matches!(work, Work::DestroyTenant) { SECOND } else { FIRST };
    let Ok(made) = versions(writer, place, 1).await else { return };
    say(root, &format!("made {}", head(writer)));
    if !done && destroy(writer, made.value).await.is_ok() {
        say(root, &format!("destroyed {}", head(writer)));
    }
}

/// The log as it is published.
fn head(writer: &Writer) -> String {
    let log = writer.snapshot().log();
    format!("{} {}", log.size, hex::encode(log.root))
}
