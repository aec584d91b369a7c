//! Many needles at once, in files or in the memory of a process.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

/// What a process's memory is read in.
const PIECE: usize = 1 << 20;

/// Needles, by their first two bytes.
#[derive(Debug)]
pub struct Search {
    needles: Vec<Vec<u8>>,
    /// Of each pair of bytes: where in `order` the needles that begin with it stand.
    first: Vec<u32>,
    order: Vec<usize>,
    longest: usize,
}

impl Search {
    /// For these, each of at least two bytes.
    pub fn new(needles: Vec<Vec<u8>>) -> Self {
        let pair = |needle: &[u8]| usize::from(needle[0]) << 8 | usize::from(needle[1]);
        let mut order: Vec<usize> = (0..needles.len()).collect();
        order.sort_by_key(|number| pair(&needles[*number]));
        let mut first = vec![0; (1 << 16) + 1];
        needles.iter().for_each(|needle| first[pair(needle) + 1] += 1);
        let mut sum = 0;
        for count in &mut first {
            sum += *count;
            *count = sum;
        }
        let longest = needles.iter().map(Vec::len).max().unwrap_or_default();
        Self { needles, first, order, longest }
    }

    /// Numbers of the needles that are in there.
    pub fn found_in(&self, hay: &[u8]) -> BTreeSet<usize> {
        self.places_in(hay).into_iter().map(|(needle, _)| needle).collect()
    }

    /// Needles with the places where they begin.
    pub fn places_in(&self, hay: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for at in 0..hay.len().saturating_sub(1) {
            let pair = usize::from(hay[at]) << 8 | usize::from(hay[at + 1]);
            let (from, until) = (self.first[pair], self.first[pair + 1]);
            for number in &self.order[from as usize..until as usize] {
                if hay[at..].starts_with(&self.needles[*number]) {
                    found.push((*number, at));
                }
            }
        }
        found
    }

    /// Needles in the memory of a process, in every mapping that can be read, and what the kernel calls each such mapping.
    ///
    /// # Errors
    /// Where the process is not there, or may not be looked into.
    pub fn found_in_process(&self, pid: u32) -> io::Result<Memory> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let mut found = Memory::default();
        for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
            let Some((from, until, name)) = readable(line) else { continue };
            let mut at = from;
            let mut piece = vec![0; PIECE + self.longest];
            while at < until {
                let wanted = piece.len().min((until - at) as usize);
                // Parts of a mapping may be beyond the end of its file, and mappings go.
                let Ok(read) = memory.read_at(&mut piece[..wanted], at) else { break };
                if read == 0 {
                    break;
                }
                let places = self.places_in(&piece[..read]);
                // What overlaps the next piece is found there too, at the same address.
                found.places.extend(places.into_iter().map(|(needle, place)| Place {
                    needle,
                    address: at + place as u64,
                    mapping: name.into(),
                }));
                found.bytes += read.min(PIECE) as u64;
                at += read.min(PIECE) as u64;
            }
        }
        Ok(found)
    }
}

/// What was found in the memory of a process.
#[derive(Debug, Default)]
pub struct Memory {
    /// Bytes that were read.
    pub bytes: u64,
    /// Where needles are.
    pub places: BTreeSet<Place>,
}

/// Where a needle is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its number.
    pub needle: usize,
    /// Where it begins.
    pub address: u64,
    /// What is mapped there: `[heap]`, `[stack]`, a file, or nothing for anonymous memory.
    pub mapping: String,
}

/// A line of `/proc/PID/maps` that names memory which can be read: `from-until perms offset device inode name`.
fn readable(line: &str) -> Option<(u64, u64, &str)> {
    let mut words = line.split_whitespace();
    let (from, until) = words.next()?.split_once('-')?;
    let (permissions, name) = (words.next()?, words.nth(3).unwrap_or_default());
    let address = |text| u64::from_str_radix(text, 16).ok();
    let ours = permissions.starts_with('r') && !matches!(name, "[vvar]" | "[vvar_vclock]" | "[vsyscall]");
    ours.then_some((address(from)?, address(until)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needles_are_found_wherever_they_are_and_only_they() {
        let search = Search::new(vec![b"needle".to_vec(), b"neck".to_vec(), vec![0, 1], b"absent".to_vec()]);
        assert_eq!(search.places_in(b"a neck, a needle\0\x01"), [(1, 2), (0, 10), (2, 16)]);
        assert_eq!(search.found_in(b"needle neck needle"), BTreeSet::from([0, 1]));
        assert!(search.found_in(b"need").is_empty() && search.found_in(b"n").is_empty());
        assert!(Search::new(Vec::new()).found_in(b"anything").is_empty());
    }

    #[test]
    fn what_a_process_has_in_memory_is_found_there() {
        // Made at run time, so that only the heap has it as a whole.
        let make = |from: u8| -> Vec<u8> { (0..32u8).map(|n| n.wrapping_mul(91) ^ from).collect() };
        let held = make(std::process::id() as u8);
        let absent: Vec<u8> = held.iter().map(|byte| byte.wrapping_mul(3)).collect();
        let reversed: Vec<u8> = absent.iter().rev().copied().collect();
        let found = Search::new(vec![held.clone(), reversed]).found_in_process(std::process::id()).unwrap();
        assert!(found.places.iter().any(|place| place.needle == 0));
        assert!(found.bytes > 1 << 20);
        drop(absent);
    }
}
