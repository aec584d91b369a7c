//! Two operators collide visibly: a change names the revision it was decided on.

use super::refused::Refused;

/// Compares and raises a revision.
///
/// # Errors
/// Where the caller read another revision than the one in force.
pub(super) fn advance(revision: &mut u64, expected: Option<u64>) -> Result<(), Refused> {
    let found = *revision;
    match expected {
        Some(expected) if expected != found => Err(Refused::RevisionMismatch { expected, found }),
        _ => {
            *revision += 1;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_revision_is_refused_and_nothing_is_raised() {
        let mut revision = 4;
        assert!(matches!(
            advance(&mut revision, Some(3)),
            Err(Refused::RevisionMismatch { expected: 3, found: 4 })
        ));
        assert_eq!(revision, 4);
        assert!(advance(&mut revision, Some(4)).is_ok());
        assert!(advance(&mut revision, None).is_ok());
        assert_eq!(revision, 6);
    }
}
