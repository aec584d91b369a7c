//! `kms seal-file`, `kms open-file`: kind 04 of the specification, a chunk at a time, so that a file of any size needs constant
//! memory.
//!
//! A file that was cut, extended or reordered fails at the chunk where it shows, and OUT does not appear. Only standard output has
//! seen the chunks before it, each of them authentic and in its place.

use std::io::{Read, Write as _};

use kms_client::VersionId;
use kms_core::file::{CHUNK, FileHeader, FileOpener, FileSealer, SEALED_CHUNK};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    args,
    failure::{Exit, Failure},
    interruption::Interruption,
    session::Session,
    whole_file::{self, Readers, WholeFile},
    words,
};

/// Seals a file.
///
/// # Errors
/// Where the key does not seal, or a file cannot be read or written.
pub async fn seal(command: args::WholeFile, session: &Session) -> Result<(), Failure> {
    let args::WholeFile { with, input, out } = command;
    let input = whole_file::open_input(&input)?;
    let readers = Readers::of_sealed(&input);
    let mut chunks = Chunks::new(input, CHUNK);
    let interruption = Interruption::catch()?;
    let mut whole = WholeFile::create(&out, readers)?;
    interruption.removes(&whole);
    let records = session.connect().await?.records(&with.tenant, &with.key);
    let mut lease = records.data_key_to_seal().await?;
    let (version, id) = (lease.version(), lease.data_key_id());
    let mut sealer =
        lease.with_data_key(|data_key| FileSealer::new(data_key, version, id))?.map_err(cannot_seal)?;
    whole.write_all(sealer.header().as_bytes()).map_err(cannot_write)?;
    while let Some((chunk, last)) = chunks.next()? {
        // A file that takes longer than the lease asks whether it may still seal.
        if lease.with_data_key(|_| ()).is_err() {
            lease = records.data_key_to_seal().await?;
            still_seals(version, lease.version())?;
        }
        let sealed = sealer.chunk(chunk, last).map_err(cannot_seal)?;
        whole.write_all(&sealed).map_err(cannot_write)?;
    }
    whole.finish().map_err(cannot_write)?;
    say("sealed", chunks.bytes, session)
}

/// Opens a file.
///
/// # Errors
/// Where it does not open to its end, or a file cannot be read or written.
pub async fn open(command: args::WholeFile, session: &Session) -> Result<(), Failure> {
    let args::WholeFile { with, input, out } = command;
    let mut file = whole_file::open_input(&input)?;
    let rejected = |problem: &dyn std::fmt::Display| {
        Failure::failed("CIPHERTEXT_REJECTED", format!("`{}`: {problem}", input.display()))
    };
    let mut head = Vec::new();
    (&mut file).take(FileHeader::LEN as u64).read_to_end(&mut head).map_err(cannot_read)?;
    let header = FileHeader::parse(&head).map_err(|problem| {
        let made_by = made_by(&head).map_or(problem.to_string(), str::to_owned);
        Failure::failed("CIPHERTEXT_MALFORMED", format!("`{}`: {made_by}", input.display()))
    })?;
    let mut chunks = Chunks::new(file, SEALED_CHUNK);
    let interruption = Interruption::catch()?;
    let mut whole = WholeFile::create(&out, Readers::Owner)?;
    interruption.removes(&whole);
    let records = session.connect().await?.records(&with.tenant, &with.key);
    let mut lease = records.data_key_to_open(header.version, header.data_key).await?;
    let mut opener = lease
        .with_data_key(|data_key| FileOpener::new(data_key, &header))?
        .map_err(|problem| rejected(&problem))?;
    let mut bytes = 0;
    while let Some((chunk, last)) = chunks.next()? {
        if lease.with_data_key(|_| ()).is_err() {
            lease = records.data_key_to_open(header.version, header.data_key).await?;
        }
        let opened = opener.chunk(chunk, last).map_err(|problem| rejected(&problem))?;
        whole.write_all(&opened).map_err(cannot_write)?;
        bytes += opened.len() as u64;
    }
    // ATTACK: a cut file opens chunk by chunk and is still not the file.
    if !opener.is_finished() {
        return Err(rejected(&"its end is missing"));
    }
    whole.finish().map_err(cannot_write)?;
    say("opened", bytes, session)
}

/// Refuses to go on under a version that no longer seals. Another data key of the same version is no reason to: the server gives
/// new ones daily, and the file key was derived once, from the first.
fn still_seals(began: VersionId, now: VersionId) -> Result<(), Failure> {
    match began == now {
        true => Ok(()),
        false => Err(Failure::failed(
            "KEY_ROTATED",
            "the key was rotated while the file was sealed; seal it again",
        )),
    }
}

/// A file in pieces of one size, the last of them known as such; an empty file is one empty piece.
struct Chunks<R> {
    input: R,
    size: usize,
    /// Two pieces: the one to hand out, and the first byte of the next, read ahead.
    buffer: Zeroizing<Vec<u8>>,
    have: usize,
    out: usize,
    ended: bool,
    finished: bool,
    bytes: u64,
}

impl<R: Read> Chunks<R> {
    fn new(input: R, size: usize) -> Self {
        let buffer = Zeroizing::new(vec![0; size + 1]);
        Self { input, size, buffer, have: 0, out: 0, ended: false, finished: false, bytes: 0 }
    }

    /// The next piece, and whether it is the last.
    fn next(&mut self) -> Result<Option<(&[u8], bool)>, Failure> {
        if self.finished {
            return Ok(None);
        }
        self.buffer.copy_within(self.out..self.have, 0);
        self.have -= self.out;
        while self.have <= self.size && !self.ended {
            match self.input.read(&mut self.buffer[self.have..]) {
                Ok(0) => self.ended = true,
                Ok(more) => self.have += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cannot_read(error)),
            }
        }
        self.out = self.have.min(self.size);
        self.finished = self.have <= self.size;
        self.bytes += self.out as u64;
        Ok(Some((&self.buffer[..self.out], self.finished)))
    }
}

/// What made a file that is none of ours and yet ours.
fn made_by(head: &[u8]) -> Option<&'static str> {
    match head {
        [b'k', b'f', b'1', b'.', ..] => {
            Some("this is the sealed text of one value; `kms columns open` opens files with such cells")
        }
        [0x4B, 3, ..] => Some("`kms encrypt` made this; open it with `kms decrypt`"),
        [0x4B, 1 | 2, ..] => {
            Some("this is one sealed value of a column; `kms columns open` opens such, in their files")
        }
        _ => None,
    }
}

fn say(what: &str, bytes: u64, session: &Session) -> Result<(), Failure> {
    // Stdout may be the file: what is said goes to stderr.
    let text = match session.is_json() {
        true => json!({ "bytes": bytes }).to_string(),
        false => format!("{what} {}", words::count(bytes, "byte")),
    };
    writeln!(std::io::stderr(), "{text}").map_err(cannot_write)
}

fn cannot_seal(problem: impl std::fmt::Display) -> Failure {
    Failure::failed("LOCAL_FAILURE", format!("the file cannot be sealed: {problem}"))
}

fn cannot_read(error: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, "INPUT_OUTPUT", format!("cannot read the input: {error}"))
}

fn cannot_write(error: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, "INPUT_OUTPUT", format!("cannot write the output: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a few bytes at a time, as a pipe does.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let n = into.len().min(3).min(self.0.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn a_file_is_sealed_on_under_another_data_key_but_not_under_another_version() {
        assert_eq!(still_seals(7.into(), 7.into()), Ok(()));
        assert_eq!(still_seals(7.into(), 8.into()).unwrap_err().reason, "KEY_ROTATED");
    }

    #[test]
    fn what_another_command_made_is_told_apart_from_what_nobody_made() {
        let said = |head: &[u8]| made_by(head).unwrap_or_default();
        assert!(said(&[0x4B, 3, 0]).contains("kms decrypt"));
        assert!(
            said(&[0x4B, 1, 0]).contains("kms columns open") && said(b"kf1.SwE").contains("kms columns open")
        );
        assert_eq!([made_by(b"id,name"), made_by(&[0x4B, 4]), made_by(b"")], [None; 3]);
    }

    #[test]
    fn the_last_piece_is_known_as_the_last_whatever_the_length() {
        for len in 0..30 {
            let bytes: Vec<u8> = (0..len).collect();
            let mut chunks = Chunks::new(Dribble(&bytes), 10);
            let (mut seen, mut lasts) = (Vec::new(), Vec::new());
            while let Some((chunk, last)) = chunks.next().unwrap() {
                assert!(chunk.len() == 10 || last);
                seen.extend_from_slice(chunk);
                lasts.push(last);
            }
            assert_eq!(seen, bytes);
            assert_eq!(lasts.iter().filter(|last| **last).count(), 1);
            assert_eq!((lasts.last(), lasts.len()), (Some(&true), usize::from(len).div_ceil(10).max(1)));
            assert_eq!(chunks.bytes, u64::from(len));
        }
    }
}
