//! Whatever bytes come, parsers read or refuse them. What each does with its bytes is in the file that the fuzz targets share; here it
//! gets the corpus, what a few changes make of it, and noise.

use std::{fs, path::Path};

use proptest::prelude::*;

#[expect(unreachable_pub, reason = "in the fuzz targets' own crate they are public")]
#[path = "../../../../fuzz/src/lib.rs"]
mod targets;

/// A target's name, and what it does.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 4] = [
    ("certificate", targets::certificate),
    ("checkpoint", targets::checkpoint),
    ("entry", targets::entry),
    ("record", targets::record),
];

/// Every file of a target's corpus.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 3, "{target} has a corpus");
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn the_corpus_is_read_or_refused() {
    for (target, run) in TARGETS {
        corpus(target).iter().for_each(|bytes| run(bytes));
    }
}

#[test]
fn the_corpus_cut_anywhere_is_read_or_refused() {
    for (target, run) in TARGETS {
        for bytes in corpus(target) {
            let step = bytes.len() / 200 + 1;
            (0..bytes.len()).step_by(step).for_each(|end| run(&bytes[..end]));
        }
    }
}

/// What a mutation does to a file: bytes overwritten, a piece doubled, a piece cut out.
#[derive(Debug, Clone)]
enum Change {
    Overwrite(prop::sample::Index, u8),
    Double(prop::sample::Index, usize),
    Cut(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\0\n \"{}[],:.-+/09afxz=".to_vec())];
    prop_oneof![
        (any::<prop::sample::Index>(), byte).prop_map(|(at, byte)| Change::Overwrite(at, byte)),
        (any::<prop::sample::Index>(), 1_usize..100).prop_map(|(at, length)| Change::Double(at, length)),
        (any::<prop::sample::Index>(), 1_usize..100).prop_map(|(at, length)| Change::Cut(at, length)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            return bytes;
        }
        let piece = |at: &prop::sample::Index, length: &usize| {
            let at = at.index(bytes.len());
            at..(at + length).min(bytes.len())
        };
        match change {
            Change::Overwrite(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Change::Double(at, length) => {
                let piece = piece(at, length);
                let copy = bytes[piece.clone()].to_vec();
                drop(bytes.splice(piece.end..piece.end, copy));
            }
            Change::Cut(at, length) => {
                let piece = piece(at, length);
                drop(bytes.drain(piece));
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn noise_is_read_or_refused(bytes: Vec<u8>, text in "\\PC{0,80}") {
        for (_, run) in TARGETS {
            run(&bytes);
            run(text.as_bytes());
        }
    }

    #[test]
    fn what_looks_like_a_note_is_read_or_refused(
        text in "[a-z/\n]{0,20}\n[0-9]{0,20}\n[A-Za-z0-9+/]{43}=\n",
        line in "— [a-z+ ]{0,9} [A-Za-z0-9+/]{0,100}={0,2}",
        key in "[a-z+]{0,9}\\+[0-9a-f]{7,9}\\+[A-Za-z0-9+/]{40,44}={0,2}",
        path in "tile/(entries|[0-9]{1,2})(/x?[0-9]{2,4}){1,4}(\\.p/[0-9]{0,3})?",
    ) {
        targets::checkpoint(format!("{text}\n{line}\n").as_bytes());
        for text in [text, line, key, path] {
            targets::checkpoint(text.as_bytes());
        }
    }

    #[test]
    fn the_corpus_with_some_changes_is_read_or_refused(
        target in 0..TARGETS.len(),
        file: prop::sample::Index,
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let (target, run) = TARGETS[target];
        let corpus = corpus(target);
        run(&changed(corpus[file.index(corpus.len())].clone(), &changes));
    }
}
