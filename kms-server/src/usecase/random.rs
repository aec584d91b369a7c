//! Random bytes from the operating system.

use kms_core::secret::Plaintext;

use super::refused::Refused;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};

/// Most bytes of one call.
pub const MAX_RANDOM: u32 = 64 * 1024;

/// Draws 1 to [`MAX_RANDOM`] bytes.
pub fn generate(permit: Permit<op::GenerateRandom>, length: u32) -> Unrecorded<Result<Plaintext, Refused>> {
    permit.finish(draw(length), Note::default())
}

fn draw(length: u32) -> Result<Plaintext, Refused> {
    if !(1..=MAX_RANDOM).contains(&length) {
        return Err(Refused::Invalid(format!("length is {length}; give 1 to {MAX_RANDOM} bytes")));
    }
    let mut random = vec![0; length as usize];
    getrandom::fill(&mut random).map_err(Refused::internal)?;
    Ok(random.into())
}
