//! Signed notes and checkpoints of other implementations: Go's `sumdb/note`, the Go checksum database, the C2SP texts, and Python's
//! `cryptography`.

use super::*;
use crate::{secret::SigningSeed, vectors};

const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const PETER_LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH_LINE: &str = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

const LOG: &str = "example.com/behind-the-sofa+252b74d2+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
const WITNESS: &str = "witness.example.com/w1+9582033c+BBOY9ixtGkV8UbpqS189vS9p/KkyFiGNyJl+QWvRfZPK";
const COSIGNED: &str = "example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa JSt00p6KTYtH8opAMF2NJ7glHT4uHMzg9iBNNDYLQta3PzLlhUjMPmDAXA2L1DXjWfKrvjQJdIEVj9Tiu9f35PqL5g8=
— witness.example.com/w1 lYIDPAAAAABkGFDL3zfNz0s4H1tr7Roq5F6IqfkQ0k3PY4CJLE5G4rmDqn7FHt52UoeOd5YRq5ihPFwQPId93UDmDJlfrte+Eg4yCw==
";
const COSIGNED_AT: u64 = 1_679_315_147;

fn key(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

fn seed(hex: &str) -> SigningSeed {
    SigningSeed::copied_from(&hex::decode(hex).unwrap()).unwrap()
}

fn peter() -> NoteSigner {
    let seed = seed("810a1402d5146c8d84f2443330f54080ebf98ee17d9c74f6252fc5d5c7283173");
    NoteSigner::new("PeterNeumann".parse().unwrap(), seed).unwrap()
}

fn enoch() -> NoteSigner {
    NoteSigner::new("EnochRoot".parse().unwrap(), seed(&"00".repeat(32))).unwrap()
}

fn log() -> NoteSigner {
    NoteSigner::new("example.com/behind-the-sofa".parse().unwrap(), seed(&"07".repeat(32))).unwrap()
}

fn witness() -> WitnessSigner {
    WitnessSigner::new("witness.example.com/w1".parse().unwrap(), seed(&"08".repeat(32))).unwrap()
}

fn open(note: &str) -> Result<SignedCheckpoint, CheckpointError> {
    SignedCheckpoint::open(note.as_bytes(), &"example.com/behind-the-sofa".parse()?, &[key(LOG)])
}

#[test]
fn verifier_keys_are_those_of_other_implementations() {
    for text in [PETER, ENOCH, LOG] {
        assert_eq!(key(text).to_string(), text);
    }
    assert_eq!(WITNESS.parse::<WitnessKey>().unwrap().to_string(), WITNESS);
    assert_eq!(peter().verifier().to_string(), PETER);
    assert_eq!(enoch().verifier().to_string(), ENOCH);
    assert_eq!(log().verifier().to_string(), LOG);
    assert_eq!(witness().verifier().to_string(), WITNESS);
}

#[test]
fn no_part_of_a_verifier_key_is_one() {
    for from in 0..=PETER.len() {
        for to in from + 1..=PETER.len() {
            let part = &PETER[from..to];
            assert_eq!(part.parse::<VerifierKey>().is_ok(), part == PETER, "{part}");
        }
    }
    for at in 0..PETER.len() {
        let mut bytes = PETER.as_bytes().to_vec();
        bytes[at] += 1;
        assert!(str::from_utf8(&bytes).unwrap().parse::<VerifierKey>().is_err(), "{at}");
    }
}

#[test]
fn keys_of_another_length_or_algorithm_are_refused_though_their_id_is_right() {
    let longer = "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==";
    assert_eq!(longer.parse::<VerifierKey>(), Err(KeyError::NotAKey));
    let unknown = "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let other = |expected, found| KeyError::OtherAlgorithm { expected, found };
    assert_eq!(unknown.parse::<VerifierKey>(), Err(other(1, 0x65)));
    assert_eq!(WITNESS.parse::<VerifierKey>(), Err(other(1, 4)));
    assert_eq!(LOG.parse::<WitnessKey>(), Err(other(4, 1)));
}

#[test]
fn keys_under_which_anything_verifies_are_refused() {
    // y = 1, 0, −1, and of order 8: the points of small order.
    let order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let minus_1 = format!("ec{}7f", "ff".repeat(30));
    for point in [&format!("01{}", "00".repeat(31)), &"00".repeat(32), &minus_1, order_8] {
        let public = hex::decode(point).unwrap().try_into().unwrap();
        let name: KeyName = "weak.example".parse().unwrap();
        assert_eq!(VerifierKey::new(name.clone(), &public), Err(KeyError::Unusable), "{point}");
        assert_eq!(WitnessKey::new(name, &public).map(drop), Err(KeyError::Unusable), "{point}");
    }
}

#[test]
fn a_note_is_signed_as_go_signs_it() {
    let mut note = Note::new(TEXT.to_owned()).unwrap();
    note.add(peter().sign(TEXT)).unwrap();
    assert_eq!(note.to_string(), format!("{TEXT}\n{PETER_LINE}"));
    note.add(enoch().sign(TEXT)).unwrap();
    assert_eq!(note.to_string(), format!("{TEXT}\n{PETER_LINE}{ENOCH_LINE}"));
    // A second signature by the same key takes the place of the first.
    note.add(peter().sign(TEXT)).unwrap();
    assert_eq!(note.to_string(), format!("{TEXT}\n{ENOCH_LINE}{PETER_LINE}"));
}

#[test]
fn known_keys_are_checked_and_others_passed_over() {
    let parse = |note: &str| Note::parse(note.as_bytes()).unwrap();
    let both = parse(&format!("{TEXT}\n{PETER_LINE}{ENOCH_LINE}"));
    assert_eq!(both.text(), TEXT);
    let keys = [key(PETER), key(ENOCH)];
    assert_eq!(both.verify(&keys[..1]), Ok(vec![&keys[0]]));
    assert_eq!(both.verify(&keys), Ok(vec![&keys[0], &keys[1]]));
    assert_eq!(both.verify(&[]), Err(NoteError::NoKnownSignature));
    let twice = parse(&format!("{TEXT}\n{PETER_LINE}{PETER_LINE}{ENOCH_LINE}"));
    assert_eq!(twice.verify(&keys), Ok(vec![&keys[0], &keys[1]]));
}

#[test]
fn one_bad_signature_of_a_known_key_spoils_the_note() {
    let keys = [key(PETER), key(ENOCH)];
    let line = |line: &str| format!("{}ABCD{}", &line[..60], &line[60..]);
    let note = Note::parse(format!("{TEXT}\n{PETER_LINE}{}", line(ENOCH_LINE)).as_bytes()).unwrap();
    assert!(matches!(note.verify(&keys), Err(NoteError::InvalidSignature { .. })));
    assert_eq!(note.verify(&keys[..1]), Ok(vec![&keys[0]]), "of an unknown key it means nothing");
    let other = Note::parse(format!("{TEXT}more\n\n{PETER_LINE}").as_bytes()).unwrap();
    assert!(matches!(other.verify(&keys), Err(NoteError::InvalidSignature { .. })));
}

#[test]
fn a_signature_under_another_name_or_id_is_of_no_known_key() {
    let keys = [key(PETER)];
    for line in [PETER_LINE.replace("PeterNeumann", "CarmenSandiego"), PETER_LINE.replace("x08g", "xxxx")] {
        let note = Note::parse(format!("{TEXT}\n{line}").as_bytes()).unwrap();
        assert_eq!(note.verify(&keys), Err(NoteError::NoKnownSignature));
    }
}

#[test]
fn what_go_calls_malformed_is_refused() {
    let good = format!("{TEXT}\n{PETER_LINE}");
    assert_eq!(Note::parse(good.as_bytes()).unwrap().to_string(), good);
    let bad_name = PETER_LINE.replace("PeterNeumann", "Bad Name");
    for malformed in [
        TEXT.to_owned(),
        format!("{TEXT}\n"),
        format!("{TEXT}\n{}", PETER_LINE.trim_end()),
        format!("\u{1}{good}"),
        format!("{TEXT}\n{bad_name}"),
        format!("{good}Unexpected line.\n"),
        format!("{TEXT}\n{}", PETER_LINE.repeat(101)),
        format!("{TEXT}{PETER_LINE}"),
        format!("{TEXT}\n— PeterNeumann x08g\n"),
        format!("{TEXT}\n{}", PETER_LINE.replace('—', "-")),
        format!("{TEXT}\r\n{PETER_LINE}"),
        String::new(),
    ] {
        assert!(Note::parse(malformed.as_bytes()).is_err(), "{malformed}");
    }
    assert_eq!(Note::parse(&[b"\xff", good.as_bytes()].concat()), Err(NoteError::NotPlainText));
    assert_eq!(Note::new("abc".to_owned()), Err(NoteError::NoLastNewline));
    assert!(Note::parse(format!("{TEXT}\n{}", PETER_LINE.repeat(100)).as_bytes()).is_ok());
}

#[test]
fn a_text_may_have_blank_lines_and_letters_of_any_script() {
    // The example of C2SP signed-note, whose key was not published.
    let example = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
    let note = Note::parse(example.as_bytes()).unwrap();
    assert!(note.text().ends_with("\n\ned è subito sera.\n"));
    assert_eq!(note.signatures()[0].name().as_str(), "quasimodo.example/salvatore");
    assert_eq!(note.signatures()[0].id(), KeyId([0x36, 0x7b, 0xa0, 0x4b]));
    assert_eq!(note.to_string(), example);
}

#[test]
fn a_checkpoint_is_written_as_go_writes_it_and_extensions_are_passed_over() {
    let golden = "go.sum database tree\n123456789012\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n";
    let origin: Origin = "go.sum database tree".parse().unwrap();
    let head = Checkpoint { origin, size: 123_456_789_012, root: leaf_hash(b"hello world") };
    assert_eq!(head.to_string(), golden);
    assert_eq!(Checkpoint::parse(golden), Ok(head.clone()));
    assert_eq!(Checkpoint::parse(&format!("{golden}JOE\n")), Ok(head));
    for (from, to) in [
        ("123456789012", "0xabcdef"),
        ("123456789012", "0123456789012"),
        ("123456789012", "+1"),
        ("123456789012", "18446744073709551616"),
        ("BrmuwBb0=\n", ""),
        ("wBb0=", "wBTOOBIG="),
        ("wBb0=", "wBb1="),
        ("wBb0=", "wBb0"),
        ("go.sum database tree", ""),
        ("wBb0=\n", "wBb0=\n\n"),
        ("wBb0=\n", "wBb0="),
    ] {
        let changed = golden.replace(from, to);
        assert!(changed == golden || Checkpoint::parse(&changed).is_err(), "{changed}");
    }
}

#[test]
fn a_checkpoint_of_the_go_checksum_database_opens() {
    let database = vectors::parse(include_str!("../../../../tests/vectors/go_checksum_database.json"));
    let (key, note) = (key(database["key"].as_str().unwrap()), database["note"].as_str().unwrap());
    let origin = "go.sum database tree".parse().unwrap();
    let head = SignedCheckpoint::open(note.as_bytes(), &origin, std::slice::from_ref(&key)).unwrap();
    assert_eq!(head.checkpoint().size, 72_097_574);
    let smaller = note.replace("72097574", "72097573");
    let refused = SignedCheckpoint::open(smaller.as_bytes(), &origin, &[key]);
    assert!(matches!(refused, Err(CheckpointError::Note(NoteError::InvalidSignature { .. }))));
}

#[test]
fn checkpoint_and_cosignature_are_those_of_another_implementation() {
    let opened = open(COSIGNED).unwrap();
    let time = witness().verifier().cosignature(&opened);
    assert_eq!(time, Ok(Some(Cosignature { time: COSIGNED_AT })));

    let mut signed = SignedCheckpoint::sign(opened.checkpoint().clone(), &log()).unwrap();
    signed.add(witness().cosign(&signed, COSIGNED_AT)).unwrap();
    assert_eq!(signed.to_string(), COSIGNED);
}

#[test]
fn a_cosignature_of_another_time_text_or_witness_does_not_hold() {
    let opened = open(COSIGNED).unwrap();
    let other =
        WitnessSigner::new("witness.example.com/w2".parse().unwrap(), seed(&"09".repeat(32))).unwrap();
    assert_eq!(other.verifier().cosignature(&opened), Ok(None), "it did not sign");

    let line = witness().cosign(&opened, COSIGNED_AT);
    let mut later = line.bytes().to_vec();
    later[7] += 1;
    let mut beyond = line.bytes().to_vec();
    beyond[0] |= 0x80;
    let forged = other.cosign(&opened, COSIGNED_AT).bytes().to_vec();
    let cut = line.bytes()[..8].to_vec();
    for bytes in [later, beyond, forged, cut] {
        let mut head = open(COSIGNED).unwrap();
        head.add(NoteSignature::new(line.name().clone(), line.id(), &bytes)).unwrap();
        assert!(witness().verifier().cosignature(&head).is_err());
    }
    let mut smaller = opened.checkpoint().clone();
    smaller.size -= 1;
    let mut smaller = SignedCheckpoint::sign(smaller, &log()).unwrap();
    smaller.add(line).unwrap();
    assert!(witness().verifier().cosignature(&smaller).is_err());
}

#[test]
fn a_checkpoint_of_another_log_or_by_nobody_known_does_not_open() {
    let other: Origin = "example.com/on-the-sofa".parse().unwrap();
    let refused = SignedCheckpoint::open(COSIGNED.as_bytes(), &other, &[key(LOG)]);
    assert!(matches!(refused, Err(CheckpointError::OtherOrigin { .. })));
    let refused = SignedCheckpoint::open(COSIGNED.as_bytes(), &other, &[key(PETER)]);
    assert_eq!(refused, Err(CheckpointError::Note(NoteError::NoKnownSignature)));
    let cosigned_only: String =
        COSIGNED.lines().filter(|line| !line.contains("JSt0")).map(|l| format!("{l}\n")).collect();
    assert_eq!(open(&cosigned_only), Err(CheckpointError::Note(NoteError::NoKnownSignature)));
}
