//! The medium on a real file.

use kms_core::id::{Attempt, Epoch};

use super::{layout::FIRST_SLOT, *};

const INSTANCE: InstanceId = InstanceId([7; 16]);

fn id(epoch: u64) -> SecretId {
    SecretId { epoch: Epoch(epoch), attempt: Attempt([epoch as u8; 16]) }
}

fn secret(byte: u8) -> EpochSecret {
    EpochSecret::copied_from(&[byte; 32]).unwrap()
}

struct Fixture {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("medium");
        drop(FileMedium::create(&path, INSTANCE).unwrap());
        Self { _directory: directory, path }
    }

    fn open(&self) -> FileMedium {
        FileMedium::open(&self.path, INSTANCE).unwrap()
    }

    fn refusal(&self) -> EffaceableError {
        FileMedium::open(&self.path, INSTANCE).unwrap_err()
    }

    fn raw(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.path).unwrap()
    }
}

fn holds(medium: &FileMedium, epoch: u64) -> bool {
    medium.read(id(epoch)).unwrap().is_some_and(|found| *found.expose_secret() == [epoch as u8; 32])
}

#[test]
fn a_secret_is_read_back_after_a_restart_and_gone_after_effacement() {
    let fixture = Fixture::new();
    let mut medium = fixture.open();
    assert!(medium.list().unwrap().is_empty());
    for epoch in 1..5 {
        medium.prepare(id(epoch), &secret(epoch as u8)).unwrap();
        drop(medium);
        medium = fixture.open();
        let evidence = medium.efface_except(id(epoch)).unwrap();
        let before: Vec<_> = (1..epoch).rev().take(1).map(id).collect();
        assert_eq!(evidence.effaced, before);
        assert_eq!(medium.list().unwrap(), [id(epoch)]);
        assert!(holds(&medium, epoch));
        assert!(medium.read(id(epoch - 1)).unwrap().is_none());
    }
}

#[test]
fn a_third_secret_and_one_that_is_there_are_refused_and_harm_nothing() {
    let fixture = Fixture::new();
    let mut medium = fixture.open();
    medium.prepare(id(1), &secret(1)).unwrap();
    assert!(matches!(medium.prepare(id(1), &secret(9)), Err(EffaceableError::There(_))));
    medium.prepare(id(2), &secret(2)).unwrap();
    assert!(matches!(medium.prepare(id(3), &secret(3)), Err(EffaceableError::Full)));
    assert!(holds(&medium, 1) && holds(&medium, 2));
}

#[test]
fn nothing_is_effaced_where_the_secret_to_keep_is_not_there() {
    let fixture = Fixture::new();
    let mut medium = fixture.open();
    medium.prepare(id(1), &secret(1)).unwrap();
    let outcome = medium.efface_except(id(2));
    assert!(matches!(outcome, Err(EffaceableError::NothingKept(kept)) if kept == id(2)));
    assert!(holds(&medium, 1));
}

#[test]
fn any_page_of_a_slot_is_needed() {
    let fixture = Fixture::new();
    let mut medium = fixture.open();
    medium.prepare(id(1), &secret(1)).unwrap();
    let raw = fixture.raw();
    for page in (0..SLOT).step_by(4096).step_by(17) {
        let mut kept = [0; 4096];
        raw.read_exact_at(&mut kept, FIRST_SLOT + page as u64).unwrap();
        raw.write_all_at(&[0; 4096], FIRST_SLOT + page as u64).unwrap();
        assert!(medium.slot(0).unwrap().is_none(), "page at {page}");
        raw.write_all_at(&kept, FIRST_SLOT + page as u64).unwrap();
    }
    assert!(holds(&medium, 1));
}

#[test]
fn a_write_torn_at_any_sector_leaves_the_secret_in_force_and_a_slot_that_can_be_used() {
    let fixture = Fixture::new();
    let mut medium = fixture.open();
    medium.prepare(id(1), &secret(1)).unwrap();
    let before = std::fs::read(&fixture.path).unwrap();
    medium.prepare(id(2), &secret(2)).unwrap();
    let after = std::fs::read(&fixture.path).unwrap();
    let changed = (0..before.len()).step_by(512).filter(|at| before[*at..at + 512] != after[*at..at + 512]);
    let changed: Vec<_> = changed.collect();
    assert_eq!(changed.len(), SLOT / 512, "only the free slot is written");
    let raw = fixture.raw();
    for lost in
        [&changed[..1], &changed[changed.len() - 1..], &changed[700..], &changed[..700], &changed[300..301]]
    {
        raw.write_all_at(&after, 0).unwrap();
        for at in lost {
            raw.write_all_at(&before[*at..at + 512], *at as u64).unwrap();
        }
        drop(medium);
        medium = fixture.open();
        assert_eq!(medium.list().unwrap(), [id(1)]);
        assert!(holds(&medium, 1));
        medium.prepare(id(3), &secret(3)).unwrap();
        assert_eq!(medium.efface_except(id(1)).unwrap().effaced, [id(3)]);
        assert!(holds(&medium, 1));
    }
}

#[test]
fn remains_that_are_not_listed_are_overwritten_too() {
    let fixture = Fixture::new();
    let mut medium = fixture.open();
    medium.prepare(id(1), &secret(1)).unwrap();
    medium.prepare(id(2), &secret(2)).unwrap();
    let raw = fixture.raw();
    raw.write_all_at(&[0; 512], offset(1)).unwrap();
    let torn = std::fs::read(&fixture.path).unwrap();
    assert_eq!(medium.efface_except(id(1)).unwrap().effaced, []);
    let after = std::fs::read(&fixture.path).unwrap();
    let at = offset(1) as usize;
    assert!((at..after.len()).step_by(512).all(|at| torn[at..at + 512] != after[at..at + 512]));
    assert_eq!(torn[..at], after[..at]);
}

#[test]
fn a_file_in_use_of_another_instance_cut_or_foreign_is_refused_and_not_changed() {
    let fixture = Fixture::new();
    let medium = fixture.open();
    assert!(matches!(fixture.refusal(), EffaceableError::Locked(_)));
    drop(medium);
    let other = FileMedium::open(&fixture.path, InstanceId([8; 16])).unwrap_err();
    assert!(matches!(other, EffaceableError::OtherInstance(_)));
    assert!(FileMedium::create(&fixture.path, INSTANCE).is_err());
    drop(fixture.open());
    let raw = fixture.raw();
    for length in [LENGTH + 1, LENGTH - 1, FIRST_SLOT, HEADER as u64] {
        raw.set_len(length).unwrap();
        assert!(matches!(fixture.refusal(), EffaceableError::Length { .. }));
        assert_eq!(raw.metadata().unwrap().len(), length);
    }
    raw.set_len(100).unwrap();
    assert!(matches!(fixture.refusal(), EffaceableError::NotAMedium(_)));
    raw.set_len(LENGTH).unwrap();
    assert!(matches!(fixture.refusal(), EffaceableError::NotAMedium(_)));
    std::fs::remove_file(&fixture.path).unwrap();
    assert!(matches!(fixture.refusal(), EffaceableError::Missing(_)));
}

#[test]
fn a_newer_version_is_refused() {
    let fixture = Fixture::new();
    let mut newer = layout::header(INSTANCE, [1; 16]);
    newer[5] = 2;
    layout::seal(&mut newer);
    fixture.raw().write_all_at(&newer, 0).unwrap();
    assert!(matches!(fixture.refusal(), EffaceableError::Version(_)));
}

#[test]
fn evidence_says_how_it_was_read_back_and_that_the_extents_stayed() {
    let fixture = Fixture::new();
    let mut medium = fixture.open();
    medium.prepare(id(1), &secret(1)).unwrap();
    medium.prepare(id(2), &secret(2)).unwrap();
    let evidence = medium.efface_except(id(2)).unwrap();
    let worth = medium.worth().unwrap();
    assert_eq!((evidence.class, &evidence.media), (worth.class, &worth.media));
    assert_eq!(evidence.assurance, worth.assurance);
    let verification = evidence.verification.as_str();
    assert!(verification.starts_with("every byte read back "), "{verification}");
    match medium.places().unwrap() {
        Some(_) => assert!(verification.ends_with("extents unchanged since the secret was written (FIEMAP)")),
        None => assert!(verification.ends_with("does not say where its extents lie")),
    }
}

#[test]
fn nothing_of_a_new_file_is_a_hole_or_was_never_written() {
    let fixture = Fixture::new();
    let medium = fixture.open();
    if let Some(extents) = Extents::of(&medium.file).unwrap() {
        assert!(!extents.unwritten && !extents.inline && !extents.shared);
    }
    let bytes = std::fs::read(&fixture.path).unwrap();
    assert_eq!(bytes.len() as u64, LENGTH);
    assert!(bytes[FIRST_SLOT as usize..].chunks(4096).all(|page| page.iter().any(|byte| *byte != 0)));
}

#[test]
fn a_secret_that_was_written_elsewhere_than_where_it_is_overwritten_is_worth_nothing_and_that_is_said() {
    let fixture = Fixture::new();
    let mut medium = fixture.open();
    medium.prepare(id(2), &secret(2)).unwrap();
    let Some(places) = medium.places().unwrap() else {
        println!("skipped: the file system of the temporary directory does not say where files lie");
        return;
    };
    // As if the file had been moved on its disk since: what is on record is not what is.
    let elsewhere = Places(std::array::from_fn(|at| places.0[at] ^ 1));
    let mut spread = vec![0; SLOT];
    afsplit::split(&layout::block(id(1), &secret(1), Some(elsewhere), INSTANCE), &mut spread).unwrap();
    medium.write(&spread, 1).unwrap();
    let moved = medium.efface_except(id(2)).unwrap();
    assert_eq!((moved.effaced.as_slice(), moved.class), ([id(1)].as_slice(), EffaceableClass::None));
    assert!(moved.assurance.as_str().contains("moved"), "{moved:?}");
    assert!(moved.verification.as_str().contains("were not overwritten"), "{moved:?}");
    let clear = Worth { class: EffaceableClass::Clear, ..medium.worth().unwrap() };
    assert_eq!(evidence(vec![], clear.clone(), ReadBack::Direct, Some(true)).class, EffaceableClass::None);
    assert_eq!(evidence(vec![], clear, ReadBack::Direct, Some(false)).class, EffaceableClass::Clear);
}

#[test]
fn a_virtual_or_undeclared_place_is_never_clear() {
    let fixture = Fixture::new();
    let terms = Terms { accept_unsuitable: true, declared_magnetic: false };
    let medium = FileMedium::open_on(&fixture.path, INSTANCE, terms).unwrap();
    assert_eq!(medium.worth().unwrap().class, EffaceableClass::None);
}
