//! A change happens once, however often it is asked for: by the request id that its caller made.

use std::collections::HashMap;

use kms_proto::reason::Reason;
use uuid::Uuid;

use super::super::{refused::Refused, rights::Operation};

/// What a change came to, beside what describing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Outcome {
    /// Numbers of the versions that it destroyed.
    pub(in super::super) versions: Vec<u32>,
    /// The epoch that destroyed them.
    pub(in super::super) epoch: u64,
}

/// Which request of whom.
type Request = (String, Operation, Uuid);

/// The changes that were made, each with the request as it was sent.
#[derive(Debug, Default)]
pub(in super::super) struct Once(HashMap<Request, (Vec<u8>, Outcome)>);

impl Once {
    /// What the request came to, if it was made before.
    ///
    /// # Errors
    /// Where it has no proper id, or its id stands for another.
    pub(in super::super) fn before(
        &self,
        (client, operation, id): (&str, Operation, &str),
        message: &[u8],
    ) -> Result<Option<Outcome>, Refused> {
        match self.0.get(&request(client, operation, id)?) {
            None => Ok(None),
            Some((same, outcome)) if same == message => Ok(Some(outcome.clone())),
            Some(_) => Err(Refused::new(
                Reason::RequestIdReused,
                "this request id was used for another request; make a new one",
            )),
        }
    }

    pub(in super::super) fn note(
        &mut self,
        (client, operation, id): (&str, Operation, &str),
        message: Vec<u8>,
        outcome: Outcome,
    ) -> Result<(), Refused> {
        self.0.insert(request(client, operation, id)?, (message, outcome));
        Ok(())
    }
}

fn request(client: &str, operation: Operation, id: &str) -> Result<Request, Refused> {
    if id.is_empty() {
        return Err(Refused::required("request_id"));
    }
    let id = Uuid::try_parse(id).map_err(|_| Reason::RequestIdInvalid)?;
    Ok((client.to_owned(), operation, id))
}
