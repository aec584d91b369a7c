use aead_stream::{EncryptorBE32, KeyInit as _};
use aes_gcm::Aes256Gcm;
use proptest::prelude::*;
use sha2::Digest as _;

use super::*;
use crate::{secret::VersionMaterial, vectors};

const VERSION: u64 = 5 << 32 | 288;
const VECTORS: &str = include_str!("../../../tests/vectors/file_vectors.json");

fn data_key(id: u32) -> DataKey {
    let material = VersionMaterial::copied_from(&[0xAA; 32]).unwrap();
    material.data_key(VERSION.into(), id.into())
}

fn seal_with(mut sealer: FileSealer, plaintext: &[u8]) -> Vec<u8> {
    let mut out = sealer.header().as_bytes().to_vec();
    let chunks = plaintext.len().div_ceil(CHUNK).max(1);
    for number in 0..chunks {
        let chunk = &plaintext[number * CHUNK..plaintext.len().min((number + 1) * CHUNK)];
        out.extend(sealer.chunk(chunk, number + 1 == chunks).unwrap());
    }
    out
}

fn seal(plaintext: &[u8]) -> Vec<u8> {
    seal_with(FileSealer::new(&data_key(19), VERSION.into(), 19.into()).unwrap(), plaintext)
}

fn open(file: &[u8]) -> Result<Vec<u8>, OpenFileError> {
    let header = FileHeader::parse(file)?;
    let mut opener = FileOpener::new(&data_key(header.data_key.get()), &header)?;
    let mut rest = &file[FileHeader::LEN..];
    let mut out = Vec::new();
    while !opener.is_finished() {
        let (chunk, after) = rest.split_at(rest.len().min(SEALED_CHUNK));
        out.extend_from_slice(&opener.chunk(chunk, after.is_empty())?);
        rest = after;
    }
    Ok(out)
}

/// Three chunks, the last one short.
fn long() -> Vec<u8> {
    (0..2 * CHUNK + 1000).map(|at| (at % 251) as u8).collect()
}

fn chunks(file: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let (header, body) = file.split_at(FileHeader::LEN);
    (header, body.chunks(SEALED_CHUNK).collect())
}

#[test]
fn files_are_as_in_the_vectors() {
    let vectors = vectors::parse(VECTORS);
    let files = vectors["files"].as_array().unwrap();
    for file in files {
        let length = file["plaintext_length"].as_u64().unwrap() as usize;
        let plaintext: Vec<u8> = (0..length).map(|at| (at * 7 % 256) as u8).collect();
        let random = [vectors::bytes(&file["salt"]), vectors::bytes(&file["nonce_prefix"])].concat();
        let sealer = FileSealer::with_salt_and_prefix(
            &data_key(19),
            VERSION.into(),
            19.into(),
            random.as_slice().try_into().unwrap(),
        );
        let sealed = seal_with(sealer.unwrap(), &plaintext);
        assert_eq!(sealed[..FileHeader::LEN], vectors::bytes(&file["header"]), "header of {length} bytes");
        assert_eq!(
            *sha2::Sha256::digest(&sealed),
            *vectors::bytes(&file["sha256"]),
            "file of {length} bytes"
        );
        if let Some(whole) = file.get("file") {
            assert_eq!(sealed, vectors::bytes(whole), "file of {length} bytes");
        }
        assert_eq!(open(&sealed).unwrap(), plaintext);
    }
    assert!(files.len() >= 5);
}

#[test]
fn chunks_are_stream_be32_as_another_crate_makes_it() {
    let plaintext = long();
    let file = seal(&plaintext);
    let header = FileHeader::parse(&file).unwrap();
    let okm = keys(&data_key(19), &header);
    let prefix: [u8; PREFIX] = header.bytes[PREFIX_AT..COMMITMENT_AT].try_into().unwrap();
    let cipher = Aes256Gcm::new(kdf::halves(&okm).0.into());
    let mut other = EncryptorBE32::from_aead(cipher, &prefix.into());
    let mut expected = other.encrypt_next(&plaintext[..CHUNK]).unwrap();
    expected.extend(other.encrypt_next(&plaintext[CHUNK..2 * CHUNK]).unwrap());
    expected.extend(other.encrypt_last(&plaintext[2 * CHUNK..]).unwrap());
    assert!(file[FileHeader::LEN..] == expected);
}

#[test]
fn files_of_any_length_come_back_as_they_were() {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1000] {
        let plaintext = &long()[..length];
        let file = seal(plaintext);
        assert_eq!(file.len(), FileHeader::LEN + length + length.div_ceil(CHUNK).max(1) * TAG, "{length}");
        assert!(open(&file).unwrap() == plaintext, "{length}");
    }
}

#[test]
fn two_files_of_one_key_share_no_chunk() {
    assert_ne!(seal(b"same"), seal(b"same"));
}

#[test]
fn a_cut_file_does_not_open_to_its_end() {
    let file = seal(&long());
    let boundaries = (0..3).map(|chunk| FileHeader::LEN + chunk * SEALED_CHUNK);
    let near = boundaries.flat_map(|at| at.saturating_sub(TAG + 1)..=at + TAG + 1).chain([file.len() - 1]);
    for len in (0..FileHeader::LEN).chain(near) {
        assert!(open(&file[..len]).is_err(), "cut to {len}");
    }
    let empty = seal(b"");
    for len in 0..empty.len() {
        assert!(open(&empty[..len]).is_err(), "empty file cut to {len}");
    }
}

#[test]
fn an_extended_file_does_not_open_to_its_end() {
    for length in [0, 10, CHUNK, CHUNK + 10] {
        let file = seal(&long()[..length]);
        for more in [&[0][..], &[0; TAG], &[0; SEALED_CHUNK], &file[FileHeader::LEN..]] {
            assert!(open(&[&file[..], more].concat()).is_err(), "{length} and {} more", more.len());
        }
    }
}

#[test]
fn chunks_put_in_another_order_dropped_or_doubled_do_not_open() {
    let file = seal(&long()[..2 * CHUNK + 5]);
    let (header, parts) = chunks(&file);
    for order in [&[1, 0, 2][..], &[0, 2], &[1, 2], &[0, 0, 1, 2], &[0, 1, 1, 2], &[0, 1], &[0, 2, 1]] {
        let moved: Vec<u8> =
            [header].into_iter().chain(order.iter().map(|&at| parts[at])).flatten().copied().collect();
        assert!(matches!(open(&moved), Err(OpenFileError::Chunk(_))), "{order:?}");
    }
}

#[test]
fn a_chunk_of_another_file_does_not_open() {
    let (one, other) = (seal(&long()), seal(&long()));
    let mixed = [&one[..FileHeader::LEN + SEALED_CHUNK], &other[FileHeader::LEN + SEALED_CHUNK..]].concat();
    assert_eq!(open(&mixed), Err(OpenFileError::Chunk(1)));
}

#[test]
fn a_changed_header_or_another_key_does_not_open() {
    let file = seal(b"content");
    for at in 0..FileHeader::LEN {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(
            matches!(open(&changed), Err(OpenFileError::Format(_) | OpenFileError::DoesNotOpen)),
            "byte {at}"
        );
    }
    let header = FileHeader::parse(&file).unwrap();
    assert_eq!(FileOpener::new(&data_key(20), &header).err(), Some(OpenFileError::DoesNotOpen));
}

#[test]
fn a_last_chunk_that_did_not_open_does_not_finish_the_file() {
    let mut file = seal(b"content");
    *file.last_mut().unwrap() ^= 1;
    let header = FileHeader::parse(&file).unwrap();
    let mut opener = FileOpener::new(&data_key(19), &header).unwrap();
    assert_eq!(opener.chunk(&file[FileHeader::LEN..], true).err(), Some(OpenFileError::Chunk(0)));
    assert!(!opener.is_finished());
    *file.last_mut().unwrap() ^= 1;
    assert!(opener.chunk(&file[FileHeader::LEN..], true).is_ok() && opener.is_finished());
    let again = opener.chunk(&file[FileHeader::LEN..], true).err();
    assert_eq!(again, Some(OpenFileError::Sequence(SequenceError::Finished)));
}

#[test]
fn a_sealer_takes_full_chunks_then_one_last_and_no_more() {
    let mut sealer = FileSealer::new(&data_key(19), VERSION.into(), 19.into()).unwrap();
    let full = vec![0; CHUNK];
    let size = |result: Result<Vec<u8>, SealFileError>| match result {
        Err(SealFileError::Sequence(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(size(sealer.chunk(b"short", false)), SequenceError::Size(5));
    assert_eq!(size(sealer.chunk(&vec![0; CHUNK + 1], true)), SequenceError::Size(CHUNK + 1));
    sealer.chunk(&full, false).unwrap();
    assert_eq!(size(sealer.chunk(b"", true)), SequenceError::Size(0));
    sealer.chunk(b"end", true).unwrap();
    assert_eq!(size(sealer.chunk(b"end", true)), SequenceError::Finished);
}

#[test]
fn files_are_sealed_under_leased_data_keys_only() {
    for id in [0, 1 << 31 | 19] {
        let refused = FileSealer::new(&data_key(id), VERSION.into(), id.into());
        assert!(matches!(refused, Err(SealFileError::DataKey(found)) if found.get() == id));
        let mut forged = seal(b"content");
        forged[..field::Header::LEN].copy_from_slice(&field::write(KIND, VERSION.into(), id.into()));
        assert_eq!(FileHeader::parse(&forged), Err(FormatError::DataKey(id.into())));
    }
}

proptest! {
    #[test]
    fn no_flipped_bit_opens(length in 0usize..200, bit: prop::sample::Index) {
        let mut file = seal(&long()[..length]);
        let bit = bit.index(file.len() * 8);
        file[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open(&file).is_err());
    }

    #[test]
    fn reading_a_header_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        FileHeader::parse(&bytes).ok();
        let mut marked = field::write(KIND, VERSION.into(), 19.into()).to_vec();
        marked.push(CHUNK_LOG2);
        marked.extend(bytes);
        prop_assert!(open(&marked).is_err());
    }
}
